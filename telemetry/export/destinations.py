"""Where finished spans go: a list that may lose entries, so that what has ended can begin anew."""

from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor


class SpanDestinations(SynchronousMultiSpanProcessor):
    """The processors of a tracer provider, of which some can be taken away again."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ending: tuple[SpanProcessor, ...] = ()

    def add_ending(self, processor: SpanProcessor) -> None:
        """Add one that ends with the provider, and leaves then."""
        self.add_span_processor(processor)
        self._ending += (processor,)

    def remove_ended(self) -> None:
        """Take away those that have ended with the provider."""
        for processor in self._ending:
            self.remove(processor)
        self._ending = ()

    def remove(self, processor: SpanProcessor) -> None:
        """Give it no more spans; one that is not there is left alone."""
        with self._lock:
            self._span_processors = tuple(known for known in self._span_processors if known is not processor)
