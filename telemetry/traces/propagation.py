"""Trace context through a queue, and work that leaves no spans.

A queue entry carries one W3C ``traceparent``. It was written by this service, so its sampled flag is obeyed:
`consumer_context` marks it as trusted, and `telemetry.traces.sampling` looks for that mark. A parent that came in
with an HTTP request carries no mark. A malformed ``traceparent`` is ignored: the consumer begins a new trace.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.context import Context, attach, create_key, detach, get_value, set_value
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from .unrecorded import unrecorded_child

TRACEPARENT = "traceparent"
TRACEPARENT_LENGTH = 55

_TRUSTED_PARENT = create_key("telemetry-trusted-parent")
_PROPAGATOR = TraceContextTextMapPropagator()
_NOT_SAMPLED = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-0([02])")  # most entries of a busy sale


def current_traceparent() -> str:
    """Return the current span as a ``traceparent`` of 55 characters, or an empty string outside any span."""
    context = get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def inject(carrier: MutableMapping[str, str]) -> None:
    """Write the current span's ``traceparent`` into a carrier; outside any span, write nothing."""
    traceparent = current_traceparent()
    if traceparent:
        carrier[TRACEPARENT] = traceparent


def is_sampled(traceparent: str) -> bool:
    """Return whether a ``traceparent`` of ours says that its trace is recorded."""
    return len(traceparent) == TRACEPARENT_LENGTH and traceparent[-1] in "13579bdf"


def consumer_context(traceparent: str) -> Context:
    """Return the context that a queue entry carries, trusted; an empty one when it carries none that is valid."""
    if len(traceparent) != TRACEPARENT_LENGTH:
        return Context()
    plain = _NOT_SAMPLED.fullmatch(traceparent)
    if plain is not None:
        trace_id, span_id, flags = plain.groups()
        sender = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags)))  # noqa: FBT003 - `is_remote`
        if sender.is_valid:
            return set_value(_TRUSTED_PARENT, sender.span_id, set_span_in_context(NonRecordingSpan(sender), Context()))
    context = _PROPAGATOR.extract({TRACEPARENT: traceparent}, Context())
    parent = get_current_span(context).get_span_context()
    return set_value(_TRUSTED_PARENT, parent.span_id, context) if parent.is_valid else context


def is_trusted(context: Context | None, parent: SpanContext) -> bool:
    """Return whether this very parent came from our own queue."""
    return context is not None and get_value(_TRUSTED_PARENT, context) == parent.span_id


@contextmanager
def consumer_span(
    tracer: Tracer,
    name: str,
    *,
    traceparent: str,
    links: Iterable[SpanContext] = (),
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Iterator[Span]:
    """Make the consumer span of one queue entry current: a child of the entry's context, linked to its batch.

    An exception that leaves the block is recorded on the span, marks it as an error, and goes on.
    """
    context = consumer_context(traceparent)
    unrecorded = unrecorded_child(tracer, context)
    if unrecorded is not None:
        token = attach(set_span_in_context(unrecorded, context))
        try:
            yield unrecorded
        finally:
            detach(token)
        return
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        links=[Link(context) for context in links if context.is_valid],
    ) as span:
        yield span


def suppressed() -> AbstractContextManager[None]:
    """Return a block in which instrumentation and `telemetry.store_span` make no spans: for polling."""
    return suppress_instrumentation()
