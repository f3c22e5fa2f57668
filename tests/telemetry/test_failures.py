"""What fails again and again is told with its traceback once, and then by number."""

import logging
from typing import Any

import pytest

from telemetry.failures import TELL_SECONDS, FailureLogger

_logger = logging.getLogger(__name__)


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now


def fail(told: FailureLogger, error: Exception, times: int = 1) -> None:
    """Have something raise this, so many times, at one place."""
    for _ in range(times):
        try:
            raise error
        except type(error):
            told.exception("%s failed", "a part")


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, bool]]:
    """Return what was told, and whether with a traceback; forget it."""
    told = [(record.getMessage(), record.exc_info is not None) for record in caplog.records]
    caplog.clear()
    return told


def test_the_first_has_its_traceback_and_the_others_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    told = FailureLogger(_logger, clock=clock)
    fail(told, LookupError("x"), 1000)
    assert lines(caplog) == [("a part failed", True)]
    clock.now = TELL_SECONDS
    fail(told, LookupError("y"), 1000)
    assert lines(caplog) == [("a part failed (1000 times more, the last time: LookupError('y'))", False)]
    clock.now = 2 * TELL_SECONDS
    fail(told, LookupError("z"))
    assert lines(caplog) == [("a part failed (1000 times more, the last time: LookupError('z'))", False)]


def test_another_error_has_its_own_traceback_up_to_so_many(caplog: pytest.LogCaptureFixture) -> None:
    """By its type and where it was raised; an error of a hundred kinds does not fill the log either."""
    told = FailureLogger(_logger, clock=Clock())
    for _ in range(10):
        fail(told, LookupError("x"))
        fail(told, ValueError("x"))
    assert lines(caplog) == [("a part failed", True)] * 2
    for number in range(100):
        kind: Any = type(f"Error{number}", (Exception,), {})
        fail(told, kind("x"))
    assert len(lines(caplog)) == 14
