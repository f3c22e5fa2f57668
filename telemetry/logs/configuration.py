"""Log lines: one JSON object a line, with the ids of the current trace, and without secrets.

structlog and the standard library's logging (uvicorn included) end in one handler with one format. Each line
has ``timestamp`` (RFC 3339, UTC), ``level``, ``logger`` and ``event``; inside a span also ``trace_id`` and
``span_id``. An exception is a list of objects with type, value and frames; the values of local variables are
never logged.

While a `telemetry.Telemetry` with an endpoint for logs runs, each line also goes to the collector: the same fields,
redacted in the same pass. Where a host sends its log lines itself (`telemetry.logs.host_handlers`), it is given them.

uvicorn configures logging itself unless it is told not to: run it with ``log_config=None``.
"""

import logging
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from opentelemetry.trace import get_current_span
from structlog.tracebacks import ExceptionDictTransformer
from structlog.types import EventDict, Processor, WrappedLogger

from ..redaction import REDACTED, is_secret, redact_text
from . import host_handlers, sink
from .handler import LineHandler

_UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
_MAX_DEPTH = 8
_MAX_FRAMES = 20


def configure_logging(*, level: str | int = "INFO", stream: TextIO, json: bool = True, wait: bool = True) -> None:
    """Send every log line of this process to one stream; a second call replaces the first.

    Args:
        level: the least level that is written, such as ``INFO``.
        stream: where lines go, usually ``sys.stdout``.
        json: JSON objects, or lines for people.
        wait: whether a line waits for whoever reads the stream; a service must not (`telemetry.logs.handler`).
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        add_trace_context,
    ]
    handler = LineHandler(stream, wait=wait)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _drop_copies],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(stream, json=json),
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    _put_on_root(handler, level)
    for name in _UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.captureWarnings(capture=True)


def _put_on_root(handler: LineHandler, level: str | int) -> None:
    root = logging.getLogger()
    for known in [known for known in root.handlers if isinstance(known, LineHandler)]:
        root.removeHandler(known)
        known.close()
    root.addHandler(handler)
    root.setLevel(level)
    host_handlers.take_over()


def _emit_to_sink(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    sink.emit(event)
    return event


def add_trace_context(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the ids of the current span, if there is one."""
    context = get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Blank the values of keys that name a secret, and secrets in any text, see `redact_text`."""
    return {key: _redacted(key, value, _MAX_DEPTH) for key, value in event.items()}


def _redacted(key: object, value: Any, depth: int) -> Any:  # noqa: ANN401 - log values have any type
    if isinstance(key, str) and is_secret(key):
        return REDACTED
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth and isinstance(value, Mapping):
        return {name: _redacted(name, item, depth - 1) for name, item in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_redacted(None, item, depth - 1) for item in value]
    return redact_text(repr(value))


def _drop_copies(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for copy in ("color_message", "message", "asctime"):  # what uvicorn and other handlers leave on the record
        event.pop(copy, None)
    return event


def _renderers(stream: TextIO, *, json: bool) -> list[Processor]:
    if not json:
        return [
            structlog.processors.format_exc_info,
            redact,
            _emit_to_sink,
            structlog.dev.ConsoleRenderer(colors=stream.isatty()),
        ]
    structured = ExceptionDictTransformer(show_locals=False, max_frames=_MAX_FRAMES)
    return [
        structlog.processors.ExceptionRenderer(structured),
        redact,
        _emit_to_sink,
        structlog.processors.JSONRenderer(),
    ]
