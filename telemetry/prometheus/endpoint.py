"""What ``GET /metrics`` answers.

One `Exposition` gathers the families of this process from three sources: the series of the process (label
``worker``), the figures of the process itself, and the series of the fleet, which are left out while another
process exports them. The text is OpenMetrics 1.0 with exemplars for those who prefer it, version 0.0.4 for everyone
else.
"""

import threading
from collections.abc import Callable, Iterable, Iterator

from opentelemetry import context
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from .content_negotiation import Format, negotiate
from .text_format import write


class Exposition:
    """The registries of one process.

    Attributes:
        registry: everything that is exported now.
        process: where the reader of the process's series registers.
        fleet: where the reader of the fleet's series registers.
        own: everything of this process, without the fleet.
    """

    def __init__(self, worker: str, *, exports_fleet: Callable[[], bool]) -> None:
        self.registry = CollectorRegistry()
        self.process = CollectorRegistry()
        self.fleet = CollectorRegistry()
        self.own = CollectorRegistry()
        self._lock = threading.Lock()
        self.own.register(_When(lambda: True, self.process))
        self.own.register(_Labelled(ProcessCollector(registry=CollectorRegistry()), "worker", worker))
        self.registry.register(_When(lambda: True, self.own))
        self.registry.register(_When(exports_fleet, self.fleet))

    def render(self, accept: str | None = None) -> tuple[bytes, str]:
        """The body and the content type of one scrape.

        Args:
            accept: the request's ``Accept`` header.
        """
        form = negotiate(accept)
        return self._write(self.registry, form), form.value

    def render_own(self, accept: str | None = None) -> bytes:
        """This process's part of the answer that a sibling gives, in the format that the sibling prefers."""
        return self._write(self.own, negotiate(accept))

    def families(self) -> list[Metric]:
        """The families of one scrape, as prometheus_client's objects."""
        with self._lock:
            return list(self.registry.collect())

    def _write(self, registry: CollectorRegistry, form: Format) -> bytes:
        # A scrape that is itself traced must not become the exemplar of what is read during it.
        token = context.attach(context.Context())
        try:
            with self._lock:  # the readers take one scrape at a time
                return write(registry.collect(), form)
        finally:
            context.detach(token)


class _When(Collector):
    """The families of another registry, while a condition holds."""

    def __init__(self, condition: Callable[[], bool], source: CollectorRegistry) -> None:
        self._condition = condition
        self._source = source

    def collect(self) -> Iterable[Metric]:
        return self._source.collect() if self._condition() else ()


class _Labelled(Collector):
    """The families of another collector with one label more."""

    def __init__(self, source: Collector, name: str, value: str) -> None:
        self._source = source
        self._label = {name: value}

    def collect(self) -> Iterator[Metric]:
        for family in self._source.collect():
            labelled = Metric(family.name, family.documentation, family.type)
            labelled.samples = [
                Sample(s.name, s.labels | self._label, s.value, s.timestamp, s.exemplar) for s in family.samples
            ]
            yield labelled
