"""Log lines by OTLP: what `telemetry.logs.configuration` writes to its stream goes to the collector as well.

They are redacted as they are there.

`OtlpLogSink` takes a line at any time. Before `OtlpLogSink.start` it is kept, so that what a server says while it
starts is not lost; then it goes through a queue. After `OtlpLogSink.flush_late` a collector that took everything gets
each further line at once: uvicorn writes two after the lifespan's shutdown. A sink never raises, and takes no line that
an exporter causes.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.sdk.resources import Resource

from .._private import (
    BatchLogRecordProcessor,
    LoggerProvider,
    LogRecordExporter,
    LogRecordExportResult,
    LogRecordProcessor,
    OTLPLogExporter,
    ReadableLogRecord,
    ReadWriteLogRecord,
    SeverityNumber,
    SimpleLogRecordProcessor,
)
from ..export.health import (
    CountFailure,
    Health,
    MonitoredExporter,
    is_self_logging_suppressed,
    suppress_self_logging,
)
from ..settings import BatchSettings, OtlpLogSettings

MAX_KEPT = 1000
LATE_SECONDS = 0.5
_INT64_LIMIT = 2**63
_NOT_ATTRIBUTES = frozenset(("event", "timestamp", "level", "logger", "trace_id", "span_id", "exception"))
_SEVERITIES = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}


class MonitoredLogExporter(MonitoredExporter[ReadableLogRecord, LogRecordExportResult], LogRecordExporter):
    """Of log lines."""

    def __init__(self, exporter: LogRecordExporter) -> None:
        super().__init__(exporter, LogRecordExportResult.SUCCESS, LogRecordExportResult.FAILURE, "log_exporter")

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Do nothing: nothing is kept here."""
        del timeout_millis
        return True


class _BufferingProcessor(LogRecordProcessor):
    """Hands records on; keeps them while there is nobody to hand them to, unless it is closed."""

    def __init__(self) -> None:
        self._kept: deque[ReadWriteLogRecord] = deque(maxlen=MAX_KEPT)
        self._target: LogRecordProcessor | None = None
        self._closed = False

    def hand_to(self, target: LogRecordProcessor) -> None:
        self._closed = False
        self._target = target
        while self._kept:
            target.on_emit(self._kept.popleft())

    def release(self) -> LogRecordProcessor | None:
        target, self._target = self._target, None
        return target

    def close(self) -> None:
        self._closed, self._target = True, None
        self._kept.clear()

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        if self._target is not None:
            self._target.on_emit(log_record)
        elif not self._closed:
            self._kept.append(log_record)

    def shutdown(self) -> None:
        self.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._target is None or self._target.force_flush(timeout_millis)


class OtlpLogSink:
    """The way of one process's log lines to a collector.

    Args:
        settings: where they go.
        batch: limits of the queue.
        resource: what produces them.
        meters: counts what is sent and what is dropped.
        failed: told of a line or a batch that could not be made.
    """

    def __init__(
        self,
        settings: OtlpLogSettings,
        batch: BatchSettings,
        resource: Resource,
        meters: MeterProvider,
        failed: CountFailure,
    ) -> None:
        self._settings = settings
        self._batch = batch
        self._meters = meters
        self._failed = failed
        self._buffer = _BufferingProcessor()
        self._provider = LoggerProvider(resource, shutdown_on_exit=False, meter_provider=meters)
        self._provider.add_log_record_processor(self._buffer)
        self.exporter: MonitoredLogExporter | None = None
        self._late: MonitoredLogExporter | None = None

    def start(self) -> None:
        """Begin to send; again, once it has ended."""
        self._late = None
        self.exporter = MonitoredLogExporter(self._exporter(self._settings.timeout_seconds, self._meters))
        self.exporter.count_failure = self._failed
        queue = BatchLogRecordProcessor(
            self.exporter,
            max_queue_size=self._batch.max_queue_size,
            schedule_delay_millis=self._batch.schedule_delay_millis,
            max_export_batch_size=self._batch.max_export_batch_size,
            meter_provider=self._meters,
        )
        self._buffer.hand_to(queue)

    def flush(self) -> None:
        """Send what there is by now."""
        self._buffer.force_flush()

    def stop(self) -> None:
        """Send what is left, and keep what comes meanwhile; waits for the collector."""
        queue = self._buffer.release()
        if queue is not None:
            queue.shutdown()

    def flush_late(self, *, collector_answers: bool) -> None:
        """From now on send each line by itself, for as long as the collector takes them; or send none."""
        if not collector_answers:
            self._buffer.close()
            return
        with suppress_self_logging():
            self._late = MonitoredLogExporter(self._exporter(LATE_SECONDS, NoOpMeterProvider()))
            self._buffer.hand_to(SimpleLogRecordProcessor(self._late, meter_provider=NoOpMeterProvider()))

    def emit(self, line: Mapping[str, Any]) -> None:
        """Take one line: structlog's event dictionary, redacted."""
        if is_self_logging_suppressed():
            return
        with suppress_self_logging():
            try:
                self._emit_record(line)
                if self._late is not None and self._late.health is Health.UNHEALTHY:
                    self._buffer.close()
            except Exception:  # noqa: BLE001 - a log line never breaks its host
                self._failed("log_exporter")

    def _emit_record(self, line: Mapping[str, Any]) -> None:
        level = str(line.get("level", "info"))
        attributes = {str(key): _plain(value) for key, value in line.items() if key not in _NOT_ATTRIBUTES}
        self._provider.get_logger(str(line.get("logger", ""))).emit(
            timestamp=_nanoseconds(line.get("timestamp")),
            severity_number=_SEVERITIES.get(level, SeverityNumber.UNSPECIFIED),
            severity_text=level.upper(),
            body=_plain(line.get("event", "")),
            attributes=attributes | _exception(line.get("exception")),
        )

    def _exporter(self, timeout: float, meters: MeterProvider) -> OTLPLogExporter:
        return OTLPLogExporter(
            endpoint=self._settings.logs_endpoint,
            headers=self._settings.headers,
            timeout=timeout,
            compression=Compression(self._settings.compression),
            meter_provider=meters,
        )


def _nanoseconds(timestamp: object) -> int:
    """Return the time that the line itself shows, to the microsecond."""
    if not isinstance(timestamp, str):
        return time.time_ns()
    return int(datetime.fromisoformat(timestamp).timestamp() * 1_000_000) * 1000


def _plain(value: Any) -> Any:  # noqa: ANN401 - log values have any type
    """Return the same value as OTLP can carry it: 64-bit integers, and text that has a UTF-8 form."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -_INT64_LIMIT <= value < _INT64_LIMIT else str(value)
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return value if isinstance(value, float) else repr(value)


def _exception(found: object) -> dict[str, Any]:
    """Return the attributes of an exception, from what `telemetry.logs` has made of it: a list of objects, or text."""
    if isinstance(found, str):
        return {"exception.stacktrace": _plain(found)}
    if not isinstance(found, list) or not found:
        return {}
    lines = []
    for error in found:
        lines += [f'  File "{f["filename"]}", line {f["lineno"]}, in {f["name"]}' for f in error.get("frames", ())]
        lines.append(f"{error['exc_type']}: {error['exc_value']}")
    return {
        "exception.type": _plain(found[0]["exc_type"]),
        "exception.message": _plain(found[0]["exc_value"]),
        "exception.stacktrace": _plain("\n".join(lines)),
    }
