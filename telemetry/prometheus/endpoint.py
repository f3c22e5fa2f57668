"""What ``GET /metrics`` answers.

One `Exposition` gathers the families of this process from three sources: the series of the process (label
``worker``), the figures of the process itself, and the series of the fleet, which are left out while another
process exports them. The text is OpenMetrics 1.0 with exemplars for those who prefer it, version 0.0.4 for everyone
else. `MetricsEndpoint` puts the series of its peers, the other processes of the service, into the same answer. Those of
the fleet are in it once: this process's, or, where it has none, those of the first peer that has some.
"""

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from uuid import uuid4

from opentelemetry import context
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from .content_negotiation import Format, negotiate
from .family_texts import merge
from .host_registries import FirstOfEachName, HostRegistries, with_labels
from .multiprocess import PeerProcesses
from .shared_scrape import SharedScrape
from .text_format import write


class Exposition:
    """The registries of one process.

    Args:
        worker: gives the name of this process.
        exports_fleet: says whether the fleet's series are in the answer.
        registries: what the host keeps by itself; see `telemetry.prometheus.host_registries`.

    Attributes:
        registry: everything that is exported now.
        process: where the reader of the process's series registers.
        fleet: where the reader of the fleet's series registers.
        own: everything of this process, without the fleet.
    """

    def __init__(
        self, worker: Callable[[], str], exports_fleet: Callable[[], bool], registries: Sequence[Collector] = ()
    ) -> None:
        self.registry = CollectorRegistry()
        self.process = CollectorRegistry()
        self.fleet = CollectorRegistry()
        self.own = CollectorRegistry()
        self._lock = threading.Lock()
        self._names = FirstOfEachName()
        self._fleet_families: list[Metric] = []
        process = _ConditionalCollector(lambda: True, self.process)
        figures = _ExtraLabelCollector(ProcessCollector(registry=CollectorRegistry()), "worker", worker)
        fleet = self._exported_fleet = _ConditionalCollector(exports_fleet, self.fleet)
        hosts = _ExtraLabelCollector(HostRegistries(registries), "worker", worker)
        for registry, collectors in (
            (self.own, (process, figures, hosts)),
            (self.registry, (process, figures, fleet, hosts)),  # of two families of one name the first stays
        ):
            for collector in collectors:
                registry.register(collector)

    def render(self, accept: str | None = None) -> tuple[bytes, str]:
        """Return the body and the content type of one scrape.

        Args:
            accept: the request's ``Accept`` header.
        """
        form = negotiate(accept)
        return self._write(self.registry.collect(), form), form.value

    def render_own(self, accept: str | None = None) -> bytes:
        """Return this process's part of the answer that a peer gives, in the format that the peer prefers."""
        return self._write(self.own.collect(), negotiate(accept), after=self._fleet_families)

    def render_fleet(self, accept: str | None = None) -> bytes:
        """Return the fleet's part of an answer; nothing while this process exports no such series."""
        with self._reading():
            families = self._fleet_families = list(self._exported_fleet.collect())
        return self._write(families, negotiate(accept)) if any(family.samples for family in families) else b""

    def families(self) -> list[Metric]:
        """Return the families of one scrape, as prometheus_client's objects."""
        with self._lock:
            return list(self._names.filter(self.registry.collect()))

    def _write(self, families: Iterable[Metric], form: Format, after: Iterable[Metric] = ()) -> bytes:
        with self._reading():
            return write(self._names.filter(families, after), form)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        # A scrape that is itself traced must not become the exemplar of what is read during it.
        token = context.attach(context.Context())
        try:
            with self._lock:  # the readers take one scrape at a time
                yield
        finally:
            context.detach(token)


class MetricsEndpoint:
    """What `GET /metrics` answers, for this process or for all.

    Args:
        exposition: the series of this process.
        peers: the other processes; None when there are none.
        reraise: raises what went wrong inside a callback, under ``strict``.
    """

    def __init__(self, exposition: Exposition, peers: PeerProcesses | None, reraise: Callable[[], None]) -> None:
        self._exposition = exposition
        self._peers = peers
        self._reraise = reraise
        self._alone = uuid4().hex
        self._shared = {form: SharedScrape(partial(self._render_all, form)) for form in Format}

    def render(self, accept: str | None = None) -> tuple[bytes, str]:
        """Render the body and the content type of this process's answer.

        Args:
            accept: the request's ``Accept`` header.
        """
        answer = self._exposition.render(accept)
        self._reraise()
        return answer

    async def render_all(self, accept: str | None = None) -> tuple[bytes, str]:
        """Render the answer for this process and all its peers; those who ask at one time share it."""
        return await self._shared[negotiate(accept)].answer()

    async def _render_all(self, form: Format) -> tuple[bytes, str]:
        if self._peers is None:
            return self.render(form.value)
        fleet = self._exposition.render_fleet(form.value)
        async with self._peers.scrape_peers(form.value, fleet_too=not fleet) as answers:
            own = self._exposition.render_own(form.value)
            given = await answers()
            if None in given:  # this scrape says that it lacks one, not the next
                own = self._exposition.render_own(form.value)
            self._reraise()
            answered = [answer for answer in given if answer is not None]
            fleet = fleet or next((answer.fleet for answer in answered if answer.fleet), b"")
            return merge([own, fleet, *(answer.own for answer in answered)]), form.value

    def group(self) -> str:
        """Return what tells for which processes the answer is: the same in each of them, and in no other."""
        shared = None if self._peers is None else self._peers.group()
        return shared or f"{self._alone}-{os.getpid()}"  # a server may have forked since

    @asynccontextmanager
    async def serving_peers(self) -> AsyncIterator[None]:
        """Let peers ask for this process's series while the block lasts."""
        if self._peers is None:
            yield
            return
        async with self._peers.serving():
            yield


class _ConditionalCollector(Collector):
    """The families of another registry, while a condition holds."""

    def __init__(self, condition: Callable[[], bool], source: CollectorRegistry) -> None:
        self._condition = condition
        self._source = source

    def collect(self) -> Iterable[Metric]:
        return self._source.collect() if self._condition() else ()


class _ExtraLabelCollector(Collector):
    """The families of another collector with one label more."""

    def __init__(self, source: Collector, name: str, value: Callable[[], str]) -> None:
        self._source = source
        self._name = name
        self._value = value

    def collect(self) -> Iterator[Metric]:
        label = {self._name: self._value()}
        for family in self._source.collect():
            yield with_labels(family, label)
