"""Spans of traces that are not recorded, made without the SDK: the same context, the same count, and nothing else.

The SDK asks its sampler, counts and makes the context of such a span in some ten microseconds. Where a child does as
its parent did (`telemetry.traces.sampling`), what comes of that is known beforehand.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue


def unrecorded_child(tracer: Tracer, context: Context | None = None) -> Span | None:
    """Return the span of a child that is not recorded, for its parent is not; None where the tracer has to decide."""
    make = getattr(getattr(tracer, "sampler", None), "unrecorded_child", None)
    span: Span | None = None if make is None else make(context)
    return span


@contextmanager
def child_span(
    tracer: Tracer,
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Iterator[Span]:
    """Make a span of a part of what is under way the current one; cheap where its trace is not recorded.

    An exception that leaves the block is recorded on the span, marks it as an error, and goes on.
    """
    span = unrecorded_child(tracer)
    if span is None:
        with tracer.start_as_current_span(name, kind=kind, attributes=attributes) as span:
            yield span
        return
    token = attach(set_span_in_context(span))
    try:
        yield span
    finally:
        detach(token)
