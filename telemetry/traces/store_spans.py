"""One client span per call to the store, made by hand: it costs less than the instrumentation does.

Attributes follow the stable database conventions; neither keys nor arguments are recorded. A call made
outside a recorded trace, or inside `telemetry.suppressed`, makes no span at all, so polling leaves none.
"""

from collections.abc import Iterable
from types import TracebackType

from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
)
from opentelemetry.util.types import AttributeValue


class StoreSpan:
    """Ends its span when the block ends; an exception marks the span as an error and goes on.

    The span is not made current: nothing below a store call makes spans of its own.
    """

    __slots__ = ("span",)

    def __init__(self, span: Span) -> None:
        self.span = span

    def __enter__(self) -> Span:
        return self.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.span.set_attribute("error.type", kind.__qualname__)
            self.span.set_status(StatusCode.ERROR)
        self.span.end()


_NO_SPAN = StoreSpan(INVALID_SPAN)


def store_span(
    tracer: Tracer,
    operation: str,
    procedure: str | None = None,
    batch_size: int = 1,
    *,
    context: Context | None = None,
    links: Iterable[SpanContext] = (),
) -> StoreSpan:
    """Return a context manager around one round trip to the store.

    Args:
        tracer: who makes the span.
        operation: the command, such as ``EVALSHA``.
        procedure: the script's name, such as ``place``.
        batch_size: how many operations share the round trip.
        context: where the parent is; None takes the current context.
        links: the other traces that share the round trip.
    """
    parent = get_current_span(context).get_span_context()
    if not parent.trace_flags.sampled or not is_instrumentation_enabled():
        return _NO_SPAN
    name = operation
    attributes: dict[str, AttributeValue] = {"db.system.name": "redis", "db.operation.name": operation}
    if procedure is not None:
        name = f"{operation} {procedure}"
        attributes["db.stored_procedure.name"] = procedure
    if batch_size > 1:  # the conventions leave the attribute out for a single operation
        attributes["db.operation.batch.size"] = batch_size
    return StoreSpan(
        tracer.start_span(
            name,
            context,
            SpanKind.CLIENT,
            attributes,
            [Link(link) for link in links if link.is_valid and link != parent],
        )
    )
