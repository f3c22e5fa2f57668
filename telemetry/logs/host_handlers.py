"""Handlers of OpenTelemetry's on the root logger: a host's log lines go to its own provider already.

`opentelemetry-instrument` puts one there when OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED says so. It would send
each line as it was before it was redacted, and ours once more. So it is taken from the root logger and given the lines
that go to the stream; the sink of our own sends none then.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from . import sink

_OF_RECORDS = frozenset(("event", "timestamp", "level", "logger", "trace_id", "span_id", "exception"))
_NAMES = logging.getLevelNamesMapping()


def take_over() -> None:
    """Do so with all that are there; those that were taken before stay."""
    root = logging.getLogger()
    found = [handler for handler in root.handlers if type(handler).__module__.startswith("opentelemetry.")]
    for handler in found:
        root.removeHandler(handler)
    if found:
        sink.set_host(_Lines(found).emit)


class _Lines:
    """Gives lines to handlers as the records that they take."""

    def __init__(self, handlers: Sequence[logging.Handler]) -> None:
        self._handlers = handlers

    def emit(self, line: Mapping[str, Any]) -> None:
        level = _NAMES.get(str(line.get("level", "info")).upper(), logging.INFO)
        record = logging.LogRecord(str(line.get("logger", "")), level, "", 0, str(line.get("event", "")), None, None)
        if isinstance(line.get("timestamp"), str):
            record.created = datetime.fromisoformat(line["timestamp"]).timestamp()
        more = {str(key): value for key, value in line.items() if key not in _OF_RECORDS}
        record.__dict__.update((key, value) for key, value in more.items() if key not in record.__dict__)
        if line.get("exception"):
            record.__dict__["exception.stacktrace"] = str(line["exception"])
        for handler in self._handlers:
            if level >= handler.level:
                try:
                    handler.handle(record)
                except Exception:  # noqa: BLE001 - as `logging` does
                    handler.handleError(record)
