"""Which traces are recorded: decided once, where a trace enters the service.

`EntrySampler` decides. A child of a local span, or of a parent from our own queue, does as its parent did, so
a trace is recorded whole or not at all. A parent that came over the network gives its trace id and nothing
else: its sampled flag is not read, and its id is hashed with a secret of this process first, because a client
that chooses its trace ids would otherwise choose to be recorded.

`BudgetSampler` keeps the traces that begin here under a rate: the share is consistent by trace id and adapted
each second to the traffic of the second before.
"""

import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, get_current_span
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from ..metrics.specs import GaugeSpec
from ..metrics.started_spans import StartedSpans
from ..settings import TelemetrySettings
from .propagation import is_trusted

_RANDOM_BITS = 56  # W3C trace context, level 2: the low 56 bits of a trace id are the random ones
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1
_WINDOW_SECONDS = 1.0
_PARENT_BASED = "parentbased_"
_DROPPED = SamplingResult(Decision.DROP)  # most requests of a busy sale: made once, for it has nothing of the request
_RECORDED = SamplingResult(Decision.RECORD_AND_SAMPLE)
_NO_PARENT = Context()
_ROOTS: dict[str, Callable[[float], Sampler]] = {
    "always_on": lambda _: ALWAYS_ON,
    "always_off": lambda _: ALWAYS_OFF,
    "traceidratio": TraceIdRatioBased,
}


SAMPLING_RATIO = GaugeSpec(
    name="telemetry.sampling.ratio",
    unit="1",
    description="Share of the traces begun in this process that is recorded now.",
)


class TraceBudget:
    """The share of traces to keep so that about ``per_second`` are kept each second.

    A second that brings far more traces than the one before it is cut off at the budget and three standard
    deviations of it; only in such a second does the order of arrival count as well as the trace id.
    """

    def __init__(self, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._limit = per_second + 3 * math.sqrt(per_second)
        self._clock = clock
        self._lock = threading.Lock()
        self._window_start = clock()
        self._seen = 0
        self._kept = 0
        self._ratio = 1.0 if per_second > 0 else 0.0
        self._threshold = round(self._ratio * (1 << _RANDOM_BITS))

    @property
    def ratio(self) -> float:
        """The share of traces that is kept now, 0 to 1."""
        with self._lock:
            self._roll()
            return self._ratio

    def admit(self, trace_id: int) -> bool:
        """Count one trace and say whether it is kept."""
        with self._lock:
            self._roll()
            self._seen += 1
            if (trace_id & _RANDOM_MASK) >= self._threshold or self._kept >= self._limit:
                return False
            self._kept += 1
            return True

    def _roll(self) -> None:
        now = self._clock()
        elapsed = now - self._window_start
        if elapsed < _WINDOW_SECONDS:
            return
        rate = self._seen / elapsed
        self._ratio = min(1.0, self._per_second / rate) if rate > 0 else min(1.0, self._limit)
        self._threshold = round(self._ratio * (1 << _RANDOM_BITS))
        self._window_start, self._seen, self._kept = now, 0, 0


class BudgetSampler(Sampler):
    """Keeps the traces that its budget admits; meant to stand behind an `EntrySampler`."""

    def __init__(self, budget: TraceBudget) -> None:
        self.budget = budget

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide for one new trace."""
        admitted = self.budget.admit(trace_id)
        if not admitted and not get_current_span(parent_context).get_span_context().trace_state:
            return _DROPPED
        sampler = ALWAYS_ON if admitted else ALWAYS_OFF
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Name the sampler and what it is set to."""
        return f"BudgetSampler{{{self.budget.ratio:.4f}}}"


class EntrySampler(Sampler):
    """Asks ``root`` where a trace enters the service, and follows the parent everywhere else."""

    def __init__(self, root: Sampler, *, trust_client: bool = False) -> None:
        self._root = root
        self._trust_client = trust_client
        self._secret = secrets.token_bytes(16)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide for one new span."""
        sampler = self._root
        parent = get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            if self.follows(parent_context, parent):
                sampler = ALWAYS_ON if parent.trace_flags.sampled else ALWAYS_OFF
            else:
                trace_id = self._hashed(trace_id)
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Name the sampler and the one behind it."""
        return f"EntrySampler{{{self._root.get_description()}}}"

    def sample_root(self, trace_id: int) -> SamplingResult:
        """Decide for the first span of a trace that nobody sent; as `should_sample`, which is asked with more."""
        if isinstance(self._root, BudgetSampler):
            return _RECORDED if self._root.budget.admit(trace_id) else _DROPPED
        return self._root.should_sample(_NO_PARENT, trace_id, "", SpanKind.SERVER)

    def follows(self, context: Context | None, parent: SpanContext) -> bool:
        """Return whether a span does as this parent of it did."""
        return not parent.is_remote or self._trust_client or is_trusted(context, parent)

    def _hashed(self, trace_id: int) -> int:
        digest = blake2b(trace_id.to_bytes(16, "big"), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "big")


class ReplaceableSampler(Sampler):
    """Is another sampler until a test needs every trace; it is asked directly, so this costs nothing.

    Attributes:
        started: counts the spans that `unrecorded_child` makes, as the SDK would.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._now = sampler
        self._ids = RandomIdGenerator()
        self.started = StartedSpans(None)
        self.use(sampler)

    def use(self, sampler: Sampler) -> Sampler:
        """Ask this one from now on; return the one before."""
        before, self._now = self._now, sampler
        self.should_sample = sampler.should_sample  # type: ignore[method-assign]
        return before

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide for one new span."""
        return self._now.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def sample_root(self, trace_id: int) -> SamplingResult:
        """Decide for the first span of a request whose trace nobody sent."""
        if isinstance(self._now, EntrySampler):
            return self._now.sample_root(trace_id)
        return self._now.should_sample(_NO_PARENT, trace_id, "", SpanKind.SERVER)

    def unrecorded_child(self, context: Context | None) -> Span | None:
        """Return what the SDK makes of a child whose parent is not recorded; None where it is to be asked."""
        parent = get_current_span(context).get_span_context()
        if not parent.is_valid or parent.trace_flags.sampled:
            return None
        if not isinstance(self._now, EntrySampler) or not self._now.follows(context, parent):
            return None
        self.started.add("remote" if parent.is_remote else "local")
        flags = TraceFlags(parent.trace_flags & TraceFlags.RANDOM_TRACE_ID)
        made = SpanContext(parent.trace_id, self._ids.generate_span_id(), False, flags, parent.trace_state)  # noqa: FBT003 - `is_remote`
        return NonRecordingSpan(made)

    def get_description(self) -> str:
        """Return that of the sampler that is asked now."""
        return self._now.get_description()


def make_sampler(
    settings: TelemetrySettings, given: Sampler | None = None, *, recording: bool
) -> tuple[ReplaceableSampler, TraceBudget | None]:
    """Return the sampler that the settings ask for, and its budget if it has one.

    Args:
        settings: ``sampler`` None asks for the budget.
        given: a sampler that the service gives, which decides alone.
        recording: False when no span can go anywhere; then the budget records none, so that no work is done
            for them and no exemplar names a trace that nobody can open. Trace ids exist all the same.
    """
    if given is not None:
        return ReplaceableSampler(given), None
    trust = settings.trust_client_sampling
    if settings.sampler is not None:
        name = settings.sampler.removeprefix(_PARENT_BASED)
        root = _ROOTS[name](settings.sampler_arg)
        sampler = root if name == settings.sampler else EntrySampler(root, trust_client=trust)
        return ReplaceableSampler(sampler), None
    if not recording:
        return ReplaceableSampler(ALWAYS_OFF), None
    budget = TraceBudget(settings.traces_per_second)
    return ReplaceableSampler(EntrySampler(BudgetSampler(budget), trust_client=trust)), budget
