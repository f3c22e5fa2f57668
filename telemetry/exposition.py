"""What ``GET /metrics`` answers.

One `Exposition` gathers the families of this process from three sources: the series of the process (label
``worker``), the figures of the process itself, and the series of the fleet, which are left out while another
process exports them. The text is written by prometheus_client: version 0.0.4, escaped as it says.
"""

import threading
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample


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
            accept: the request's ``Accept`` header. Text 0.0.4 is given whatever it says.
        """
        del accept
        with self._lock:  # the exporter's collector mixes up two scrapes at once
            return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def render_own(self) -> bytes:
        """This process's part of the answer that a sibling gives."""
        with self._lock:
            return generate_latest(self.own)

    def families(self) -> list[Metric]:
        """The families of one scrape, as prometheus_client's objects."""
        with self._lock:
            return list(self.registry.collect())


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
