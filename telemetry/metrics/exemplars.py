"""Exemplars: for a bucket or a counter, one measurement whose trace can be opened.

Three things stand between a measurement and its exemplar at ``/metrics``. `make_exemplar` lets in only what was
measured inside a sampled span of this process: a trace id that a client sent is none. `ExportedTraces` says whose
spans the collector has taken; until then an exemplar waits. `Exemplars` shows the newest one of a series for
`KEEP_SECONDS`, so that every scraper sees it although it is given once, and none is repeated for ever.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import Exemplar as Measured
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
from prometheus_client.samples import Exemplar, Timestamp

KEEP_SECONDS = 120.0
REMEMBERED_TRACES = 20_000
_WAITING = 8
_NANOS = 1_000_000_000


def make_exemplar(value: float, context: Context | None) -> Measured | None:
    """Return a measurement that may become an exemplar: one made inside a sampled span of this process.

    The SDK's own filter would take a client's sampled parent as well.
    """
    span = get_current_span(context)
    if not isinstance(span, ReadableSpan):
        return None
    own = span.get_span_context()
    return Measured({}, value, time.time_ns(), own.span_id, own.trace_id) if own.trace_flags.sampled else None


class ExportedTraces:
    """The last traces of which the collector has taken a span: at least `REMEMBERED_TRACES`, at most twice that."""

    def __init__(self) -> None:
        self._new: set[int] = set()
        self._old: set[int] = set()

    def add(self, trace_ids: Iterable[int]) -> None:
        """Remember traces; called by one thread at a time."""
        self._new.update(trace_ids)
        if len(self._new) >= REMEMBERED_TRACES:
            self._old, self._new = self._new, set()

    def __contains__(self, trace_id: int | None) -> bool:
        return trace_id in self._new or trace_id in self._old


@dataclass(slots=True)
class _Series:
    shown: Exemplar | None = None
    until: float = 0.0
    waiting: deque[tuple[float, Measured]] = field(default_factory=deque)


class Exemplars:
    """What each series shows.

    Args:
        exported: the traces that the collector has; None when spans leave by another way, and all count as exported.
        clock: seconds that never go back.
    """

    def __init__(self, exported: ExportedTraces | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._exported = exported
        self._clock = clock
        self._series: dict[Hashable, _Series] = {}

    def __bool__(self) -> bool:
        """Whether there is one of any series, shown or waiting."""
        return bool(self._series)

    def offer(self, series: Hashable, measured: Measured) -> None:
        """Take what was measured for a series since the last collection."""
        waiting = self._series.setdefault(series, _Series()).waiting
        # The first to come is the first to be exported: a later one does not push it out.
        if len(waiting) < _WAITING:
            waiting.append((self._clock() + KEEP_SECONDS, measured))

    def current(self, series: Hashable) -> Exemplar | None:
        """Return the newest exemplar of a series whose trace is exported, unless it has been shown long enough."""
        state = self._series.get(series)
        if state is None:
            return None
        now = self._clock()
        for place in reversed(range(len(state.waiting))):
            _, measured = state.waiting[place]
            if self._exported is None or measured.trace_id in self._exported:
                state.shown, state.until = _exemplar(measured), now + KEEP_SECONDS
                for _ in range(place + 1):
                    state.waiting.popleft()
                break
        while state.waiting and state.waiting[0][0] < now:
            state.waiting.popleft()
        if now < state.until:
            return state.shown
        if not state.waiting:
            del self._series[series]
        return None


def _exemplar(measured: Measured) -> Exemplar:
    labels = {
        "trace_id": format_trace_id(measured.trace_id or 0),
        "span_id": format_span_id(measured.span_id or 0),
    }
    return Exemplar(labels, float(measured.value), Timestamp(*divmod(measured.time_unix_nano, _NANOS)))
