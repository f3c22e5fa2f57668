"""The handler behind the log of a process: it bounds what is written, and it may be told never to wait for a reader.

A pipe that nobody reads takes 64 KiB, and then whoever writes to it waits for ever: a request, or the end of a service.
A handler that does not wait gives its lines to a thread, keeps `MAX_WAITING_BYTES` of them, and drops the rest.
"""

import atexit
import logging
import os
import threading
import time
from collections import deque
from typing import Literal, TextIO

from ..metrics.specs import CounterSpec

MAX_WAITING_BYTES = 1 << 20
MAX_ALIKE_PER_SECOND = 100
MAX_KINDS = 1000
FLUSH_SECONDS = 1.0
REASONS = ("full", "failed", "repeated")

Reason = Literal["full", "failed", "repeated"]

LOG_LINES_DROPPED = CounterSpec(
    name="telemetry.log.lines.dropped",
    unit="{line}",
    description="Log lines that were not written: nobody reads them in time, the write failed, or too many were alike.",
    attributes={"reason": REASONS},
)

dropped: dict[Reason, int] = {"full": 0, "failed": 0, "repeated": 0}
"""By the process, for logging belongs to the process."""


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes to one stream; of lines that are alike, no more than `MAX_ALIKE_PER_SECOND`.

    Args:
        stream: where lines go.
        wait: whether a line waits for whoever reads the stream; otherwise a thread writes to its descriptor.
    """

    def __init__(self, stream: TextIO, *, wait: bool) -> None:
        super().__init__(stream)
        self._writer = None if wait else _Writer(stream.fileno())
        self._second = 0
        self._alike: dict[tuple[str, int, str], int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        if self._is_repeated(record):
            dropped["repeated"] += 1
            return
        if self._writer is None:
            super().emit(record)
            return
        try:
            line = self.format(record) + self.terminator
        except Exception:  # noqa: BLE001 - as `logging` does
            self.handleError(record)
            return
        self._writer.write(line.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Write what waits, for a second at most."""
        if self._writer is not None:
            self._writer.flush()
        super().close()

    def _is_repeated(self, record: logging.LogRecord) -> bool:
        """Whether this second had its share of lines of this kind: those from outside would fill a disk."""
        if record.levelno <= logging.DEBUG:
            return False
        if (second := int(record.created)) != self._second:
            self._second = second
            self._alike.clear()
        said = record.msg.get("event") if isinstance(record.msg, dict) else record.msg
        kind = (record.name, record.levelno, str(said)[:100])
        if kind not in self._alike and len(self._alike) >= MAX_KINDS:
            return True
        self._alike[kind] = self._alike.get(kind, 0) + 1
        return self._alike[kind] > MAX_ALIKE_PER_SECOND


class _Writer:
    """Writes lines to a descriptor in a thread of its own, which nobody waits for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        with self._lock:
            if self._bytes + len(line) > MAX_WAITING_BYTES:
                dropped["full"] += 1
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                self._thread.start()
                atexit.register(self.flush)
            self._lines.append(line)
            self._bytes += len(line)
            self._lock.notify()

    def flush(self) -> None:
        """Wait until all is written, for `FLUSH_SECONDS` at most."""
        end = time.monotonic() + FLUSH_SECONDS
        with self._lock:
            while self._bytes and (left := end - time.monotonic()) > 0:
                self._lock.wait(left)

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._lines:
                    self._lock.wait()
                line = self._lines.popleft()
            failed = not self._written(line)
            with self._lock:
                self._bytes -= len(line)
                dropped["failed"] += failed
                self._lock.notify_all()

    def _written(self, line: bytes) -> bool:
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except OSError:  # a full disk, a reader that has gone: the next line may fare better
                return False
        return True
