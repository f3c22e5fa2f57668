"""Where log lines go besides their stream; logging belongs to the process, so this does, too."""

from collections.abc import Callable, Mapping
from typing import Any

LogSink = Callable[[Mapping[str, Any]], None]
"""Is given one line: structlog's event dictionary, redacted."""


class _Outputs:
    sink: LogSink | None = None
    host: LogSink | None = None


_outputs = _Outputs()


def set_sink(sink: LogSink | None) -> None:
    """Give every line from now on to ``sink`` as well, which must not raise; another one replaces it, None ends it."""
    _outputs.sink = sink


def set_host(host: LogSink | None) -> None:
    """Give every line from now on to what a host sends its lines with, and none to the sink."""
    _outputs.host = host


def emit(event: Mapping[str, Any]) -> None:
    """Give one line to whoever sends it, if there is somebody."""
    send = _outputs.host or _outputs.sink
    if send is not None:
        send(event)
