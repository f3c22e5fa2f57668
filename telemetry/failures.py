"""Telling of what fails at every request without filling the log: once with its traceback, then by number."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

TELL_SECONDS = 60.0
"""How often a failure that goes on is told again."""
_MAX_KINDS = 16
"""How many failures have their traceback told; the others of that many are of the same make."""


class FailureLogger:
    """The log lines of one part that calls somebody else's code, which may fail each time.

    Each kind of error, by its type and the line that raised it, is told once with its traceback. Those that follow are
    counted, and told in one line each `TELL_SECONDS` for as long as they go on.

    Args:
        logger: where they are told.
        clock: seconds that never go back.
    """

    def __init__(self, logger: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: set[tuple[object, ...]] = set()
        self._untold = 0
        self._told_at = clock()

    def exception(self, message: str, *args: object) -> None:
        """Tell of the exception that is being handled, as `logging.Logger.exception` does, or count it."""
        error = sys.exception()
        with self._lock:
            now, kind = self._clock(), (type(error), _origin(error.__traceback__ if error else None))
            if kind not in self._kinds and len(self._kinds) < _MAX_KINDS:
                self._kinds.add(kind)
                self._told_at = now
                number = 0
            else:
                self._untold += 1
                if now - self._told_at < TELL_SECONDS:
                    return
                number, self._untold, self._told_at = self._untold, 0, now
        if number:
            message, args = message + " (%d times more, the last time: %r)", (*args, number, error)
        self._logger.error(message, *args, exc_info=None if number else error)


def _origin(traceback: TracebackType | None) -> tuple[str, int] | None:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return None if traceback is None else (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
