"""Exporting spans and log lines to a collector that may be slow, hang, refuse or be gone.

Whatever fails here is counted and stays here. `MonitoredExporter` stands around an exporter and knows how the collector
does; `SafeSpanProcessor` keeps the errors of a span processor from whoever ends a span. Log lines that an exporter
causes are not exported themselves: they are written inside `suppress_self_logging`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Generic, Protocol, TypeVar

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ..failures import FailureLogger
from ..metrics.specs import CounterSpec

SILENT_SECONDS = 1.0
"""How long a collector may hold one batch before it counts as unhealthy."""

PARTS = ("interceptor", "propagator", "span_processor", "span_exporter", "log_exporter", "metric_exporter")
FAILURES = CounterSpec(
    name="telemetry.failures",
    unit="{failure}",
    description="Errors inside the telemetry, by the part that raised them; the service did not see them.",
    attributes={"part": PARTS},
)

CountFailure = Callable[[str], None]
"""Is told which of `PARTS` failed."""

_Item_contra = TypeVar("_Item_contra", contravariant=True)
_Result_co = TypeVar("_Result_co", covariant=True)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_thread = threading.local()
_logger = logging.getLogger(__name__)


class Health(Enum):
    """What is known of a collector."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@contextmanager
def suppress_self_logging() -> Iterator[None]:
    """Open a block whose log lines are not exported."""
    before = is_self_logging_suppressed()
    _thread.quiet = True
    try:
        yield
    finally:
        _thread.quiet = before


def is_self_logging_suppressed() -> bool:
    """Return whether this thread is inside `quiet`."""
    return getattr(_thread, "quiet", False)


class _Exporter(Protocol[_Item_contra, _Result_co]):
    def export(self, batch: Sequence[_Item_contra], /) -> _Result_co: ...

    def shutdown(self) -> None: ...


class MonitoredExporter(Generic[_Item, _Result]):
    """An exporter, and what is known of the collector behind it; never raises."""

    def __init__(self, exporter: _Exporter[_Item, _Result], success: _Result, failure: _Result, part: str) -> None:
        self._exporter = exporter
        self._success = success
        self._failure = failure
        self._part = part
        self._last: Health = Health.UNKNOWN
        self._begun: float | None = None
        self._ended = False
        self._failure_logger = FailureLogger(_logger)
        self.count_failure: CountFailure = lambda _: None

    @property
    def health(self) -> Health:
        """How the collector did with the last batch, and does with the one that it has now."""
        begun = self._begun
        if begun is not None and time.monotonic() - begun >= SILENT_SECONDS:
            return Health.UNHEALTHY
        return self._last

    def export(self, batch: Sequence[_Item]) -> _Result:
        """Send one batch, in the exporter's own thread."""
        result = self._failure
        with suppress_self_logging():
            self._begun = time.monotonic()
            try:
                result = self._exporter.export(batch)
            except Exception:
                self.count_failure(self._part)
                self._failure_logger.exception("an exporter failed")
        self._begun = None
        self._last = Health.HEALTHY if result is self._success else Health.UNHEALTHY
        return result

    def shutdown(self) -> None:
        """End it, and a wait between two tries; a second call does nothing."""
        if self._ended:
            return
        self._ended = True
        with suppress_self_logging():
            self._exporter.shutdown()


class MonitoredSpanExporter(MonitoredExporter[ReadableSpan, SpanExportResult], SpanExporter):
    """Of spans."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(exporter, SpanExportResult.SUCCESS, SpanExportResult.FAILURE, "span_exporter")


class SafeSpanProcessor(SpanProcessor):
    """A span processor whose errors do not reach whoever ends a span; under ``strict`` they do, for tests."""

    def __init__(self, processor: SpanProcessor, failed: CountFailure, *, strict: bool) -> None:
        self._processor = processor
        self.count_failure = failed
        self._strict = strict
        self._failure_logger = FailureLogger(_logger)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Return a span has begun."""
        self._guarded(lambda: self._processor.on_start(span, parent_context))

    def on_end(self, span: ReadableSpan) -> None:
        """Return a span has ended."""
        self._guarded(lambda: self._processor.on_end(span))

    def shutdown(self) -> None:
        """Hand over what is left."""
        self._processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Hand over what is there."""
        return self._processor.force_flush(timeout_millis)

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            self.count_failure("span_processor")
            if self._strict:
                raise
            self._failure_logger.exception("a span processor failed")
