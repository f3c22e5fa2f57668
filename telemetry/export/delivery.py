"""Handing spans and log lines to a collector that may be slow, hang, refuse or be gone.

Whatever fails here is counted and stays here. `Delivery` stands around an exporter and knows how the collector does;
`drain` ends several pipelines at once and waits as long as that is worth it. Log lines that an exporter causes are not
exported themselves: they are written while `quiet` holds.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ..metrics.specs import CounterSpec

UNKNOWN_SECONDS = 1.0
"""How long `drain` waits for a collector that has not been sent anything yet."""
ILL_SECONDS = 0.3
"""How long it waits for one that did not take the last batch, or holds one for `SILENT_SECONDS`."""
SILENT_SECONDS = 1.0

PARTS = ("interceptor", "span_processor", "span_exporter", "log_exporter")
FAILURES = CounterSpec(
    name="telemetry.failures",
    unit="{failure}",
    description="Errors inside the telemetry, by the part that raised them; the service did not see them.",
    attributes={"part": PARTS},
)

Failed = Callable[[str], None]
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
    WELL = "well"
    ILL = "ill"


@contextmanager
def quiet() -> Iterator[None]:
    """A block whose log lines are not exported."""
    before = is_quiet()
    _thread.quiet = True
    try:
        yield
    finally:
        _thread.quiet = before


def is_quiet() -> bool:
    """Whether this thread is inside `quiet`."""
    return getattr(_thread, "quiet", False)


class _Exporter(Protocol[_Item_contra, _Result_co]):
    def export(self, batch: Sequence[_Item_contra], /) -> _Result_co: ...

    def shutdown(self) -> None: ...


class Delivery(Generic[_Item, _Result]):
    """An exporter, and what is known of the collector behind it; never raises."""

    def __init__(self, exporter: _Exporter[_Item, _Result], success: _Result, failure: _Result, part: str) -> None:
        self._exporter = exporter
        self._success = success
        self._failure = failure
        self._part = part
        self._last: Health = Health.UNKNOWN
        self._begun: float | None = None
        self._ended = False
        self.failed: Failed = lambda _: None

    @property
    def health(self) -> Health:
        """How the collector did with the last batch, and does with the one that it has now."""
        begun = self._begun
        if begun is not None and time.monotonic() - begun >= SILENT_SECONDS:
            return Health.ILL
        return self._last

    def export(self, batch: Sequence[_Item]) -> _Result:
        """Send one batch, in the exporter's own thread."""
        result = self._failure
        with quiet():
            self._begun = time.monotonic()
            try:
                result = self._exporter.export(batch)
            except Exception:
                self.failed(self._part)
                _logger.exception("an exporter failed")
        self._begun = None
        self._last = Health.WELL if result is self._success else Health.ILL
        return result

    def shutdown(self) -> None:
        """End it, and a wait between two tries; a second call does nothing."""
        if self._ended:
            return
        self._ended = True
        with quiet():
            self._exporter.shutdown()


class SpanDelivery(Delivery[ReadableSpan, SpanExportResult], SpanExporter):
    """Of spans."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(exporter, SpanExportResult.SUCCESS, SpanExportResult.FAILURE, "span_exporter")


class LogDelivery(Delivery[ReadableLogRecord, LogRecordExportResult], LogRecordExporter):
    """Of log lines."""

    def __init__(self, exporter: LogRecordExporter) -> None:
        super().__init__(exporter, LogRecordExportResult.SUCCESS, LogRecordExportResult.FAILURE, "log_exporter")

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Nothing is kept here."""
        del timeout_millis
        return True


class GuardedProcessor(SpanProcessor):
    """A span processor whose errors do not reach whoever ends a span; under ``strict`` they do, for tests."""

    def __init__(self, processor: SpanProcessor, failed: Failed, *, strict: bool) -> None:
        self._processor = processor
        self._failed = failed
        self._strict = strict

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """A span has begun."""
        self._guarded(lambda: self._processor.on_start(span, parent_context))

    def on_end(self, span: ReadableSpan) -> None:
        """A span has ended."""
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
            self._failed("span_processor")
            if self._strict:
                raise
            _logger.exception("a span processor failed")


@dataclass(frozen=True, slots=True)
class Outlet:
    """One pipeline to be ended.

    Attributes:
        name: what it carries.
        stop: hands over what is left; may wait for long, or for ever.
        delivery: where it ends; None when that is not a collector.
    """

    name: str
    stop: Callable[[], None]
    delivery: SpanDelivery | LogDelivery | None


def drain(outlets: Sequence[Outlet], timeout: float) -> bool:
    """End pipelines, and wait up to ``timeout`` seconds for what they still have to hand over.

    Only a collector that is well is given all of the time. The SDK waits 30 s for a batch that is under way, and its
    ``force_flush`` waits for ever; so each pipeline is ended in a thread, which is left behind when the time is up.

    Returns:
        Whether everything was handed over in time.
    """
    begun = time.monotonic()
    known = [
        health for outlet in outlets if outlet.delivery and (health := outlet.delivery.health) is not Health.UNKNOWN
    ]
    threads = []
    for outlet in outlets:
        thread = threading.Thread(target=outlet.stop, name=f"telemetry-drain-{outlet.name}", daemon=True)
        patience = timeout if outlet.delivery is None else _patience(outlet.delivery.health, known, timeout)
        thread.start()
        threads.append((outlet, thread, patience))
    done = True
    for outlet, thread, patience in threads:
        _wait(thread, outlet.delivery, begun + patience, begun + timeout)
        if thread.is_alive():
            done = False
            _logger.warning("%s are left unsent: the collector did not take them in time", outlet.name)
            if outlet.delivery is not None:
                outlet.delivery.shutdown()
    return done


def _wait(thread: threading.Thread, delivery: SpanDelivery | LogDelivery | None, soon: float, end: float) -> None:
    """Wait until ``soon``; until ``end`` once the collector takes what it is sent."""
    while thread.is_alive():
        well = delivery is not None and delivery.health is Health.WELL
        if time.monotonic() >= (end if well else soon):
            return
        thread.join(0.02)


def _patience(health: Health, known: Sequence[Health], timeout: float) -> float:
    """How long a pipeline is worth waiting for; one that has not sent anything is judged by the others."""
    if health is Health.UNKNOWN and known:
        health = Health.WELL if Health.WELL in known else Health.ILL
    return min(timeout, {Health.WELL: timeout, Health.UNKNOWN: UNKNOWN_SECONDS, Health.ILL: ILL_SECONDS}[health])
