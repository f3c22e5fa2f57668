"""Whether a request's trace is recorded, decided before any work is done for it.

An instrumentation puts together a span's name and attributes first and asks the sampler then. `HeadSampler` asks when
the request comes in: with the trace id that the span would get, and the parent that the instrumentation would find.

    BypassMiddleware    HeadSampler      sampler     instrumentation     tracer (SDK)
          |  request        |               |               |                  |
          |---------------->| trace id,     |               |                  |
          |                 | parent ------>|               |                  |
          |                 |<-- dropped ---|               |                  |
          |<-- its context: a span without content; the instrumentation is passed by
          |                 |               |               |                  |
          |                 |<-- recorded --|               |                  |
          |<-- None         | keeps id and result for the next span of this task (`_Decision`)
          |-------------------- request ------------------->| start_span ----->|
          |                 |               |               |    PredecidedIdGenerator: the trace id of the decision
          |                 |               |               |    PredecidedSampler: its result, once; `taken` is set
          |                 |               |               |<- recorded span -|

So the sampler is asked once for each request. The span without content is what the SDK would have made, and it is
counted as the SDK does.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar

from opentelemetry import context as contexts
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import DefaultGetter, TextMapPropagator
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from ..metrics.provider import AggregatingMeterProvider
from ..metrics.started_spans import StartedSpans
from ..traces.sampling import ReplaceableSampler
from .semantics import Scope

_W3C = frozenset(("traceparent", "tracestate", "baggage"))
_NOTHING = Context()
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
_NOT_SAMPLED_RANDOM = TraceFlags(TraceFlags.RANDOM_TRACE_ID)


class _Decision:
    """What was decided for the next span of a request."""

    __slots__ = ("result", "taken", "trace_id")

    def __init__(self, trace_id: int, result: SamplingResult) -> None:
        self.trace_id = trace_id
        self.result = result
        self.taken = False


_DECISION: ContextVar[_Decision | None] = ContextVar("telemetry-decision", default=None)


class PredecidedIdGenerator(RandomIdGenerator):
    """Random ids; the trace id on which it was decided, for the span that the decision is about."""

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        decision = _DECISION.get()
        return super().generate_trace_id() if decision is None or decision.taken else decision.trace_id


class PredecidedSampler(Sampler):
    """Says what was decided for a request's span, and asks another sampler for every other."""

    def __init__(self, inside: Sampler) -> None:
        self._inside = inside
        self.unrecorded_child = getattr(inside, "unrecorded_child", None)

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
        decision = _DECISION.get()
        if decision is None or decision.taken or decision.trace_id != trace_id:
            return self._inside.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        decision.taken = True
        return SamplingResult(decision.result.decision, attributes, decision.result.trace_state)

    def get_description(self) -> str:
        """Return that of the sampler inside."""
        return self._inside.get_description()


class _CaseInsensitiveGetter(DefaultGetter):
    """Finds a header however its name is written; ASGI's are in lower case."""

    def get(self, carrier: Mapping[str, list[str]], key: str) -> list[str] | None:  # type: ignore[override]
        return super().get(carrier, key.lower())


_GETTER = _CaseInsensitiveGetter()


def extract_context(
    textmap: TextMapPropagator, headers: Iterable[tuple[bytes, bytes]], only: Collection[bytes] | None = None
) -> Context:
    """Return what a request's headers say of its context, and nothing else.

    Args:
        textmap: reads them.
        headers: as in an ASGI scope.
        only: the names of those that it reads; None for all.
    """
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        if only is None or name in only:
            carrier.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return textmap.extract(carrier, Context(), _GETTER) if carrier else _NOTHING


class HeadSampler:
    """Where requests come in.

    Args:
        sampler: decides; it sees neither name nor attributes.
        meters: where the SDK counts its spans; None where it does not.
    """

    def __init__(self, sampler: ReplaceableSampler, meters: AggregatingMeterProvider | None) -> None:
        self._sampler = sampler
        self._ids = RandomIdGenerator()
        self._textmap: TextMapPropagator | None = None
        self._fields: frozenset[bytes] | None = None
        self._count = StartedSpans(meters)

    def bypass_context(self, scope: Scope) -> Context | None:
        """Return the context of a request that is not recorded; None for what goes through the instrumentation."""
        context = self._around(scope)
        if not context:  # nothing was sent along, as with most requests of a sale
            trace_id = self._ids.generate_trace_id()
            result = self._sampler.sample_root(trace_id)
            if result.decision is Decision.DROP:
                self._count.add("none")
                return self._unrecorded(trace_id, _NOT_SAMPLED_RANDOM, result, context)
        else:
            found = get_current_span(context).get_span_context()
            parent = found if found.is_valid else None
            trace_id = self._ids.generate_trace_id() if parent is None else parent.trace_id
            result = self._sampler.should_sample(context, trace_id, "", SpanKind.SERVER)
            if result.decision is Decision.DROP:
                self._count.add("none" if parent is None else "remote" if parent.is_remote else "local")
                random = parent is None or parent.trace_flags.random_trace_id
                flags = _NOT_SAMPLED_RANDOM if random else _NOT_SAMPLED
                return self._unrecorded(trace_id, flags, result, context)
        _DECISION.set(_Decision(trace_id, result))
        return None

    def _unrecorded(self, trace_id: int, flags: TraceFlags, result: SamplingResult, context: Context) -> Context:
        span = SpanContext(trace_id, self._ids.generate_span_id(), False, flags, result.trace_state)  # noqa: FBT003 - `is_remote`
        return set_span_in_context(NonRecordingSpan(span), context)

    def _around(self, scope: Scope) -> Context:
        """Return where the parent is, and the baggage: what the instrumentation would find."""
        if get_current_span() is not INVALID_SPAN:  # as contrib has it
            return contexts.get_current()
        textmap = propagate.get_global_textmap()
        if textmap is not self._textmap:
            self._textmap = textmap
            # `fields` are those that a propagator writes; others than W3C's read more, as B3 does.
            known = set(textmap.fields) <= _W3C
            self._fields = frozenset(field.encode("ascii") for field in textmap.fields) if known else None
        return extract_context(textmap, scope["headers"], self._fields)


class NoHeadSampling(HeadSampler):
    """Leaves the decision to the instrumentation's span: its provider is a host's, with a sampler of its own."""

    def __init__(self) -> None:
        super().__init__(ReplaceableSampler(ALWAYS_OFF), None)

    def bypass_context(self, scope: Scope) -> Context | None:
        """Return None: whatever it is, it goes through the instrumentation."""
        del scope
        return None
