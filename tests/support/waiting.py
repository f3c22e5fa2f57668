"""Conditions with a deadline, and ports that nobody listens on."""

import asyncio
import inspect
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.01


async def wait_until(condition: Callable[[], Any], deadline_seconds: float = 5.0, what: str = "the condition") -> Any:
    """Poll `condition` (plain or async) until it is truthy and return its value.

    Raises:
        AssertionError: `what` did not hold within `deadline_seconds`; the last value is in the message.
    """
    end = time.monotonic() + deadline_seconds
    while True:
        found = condition()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline_seconds} s still not: {what} (last value: {value!r})")
        await asyncio.sleep(POLL_SECONDS)


def eventually(condition: Callable[[], T], deadline_seconds: float = 5.0, what: str = "the condition") -> T:
    """Do what `wait_until` does, for tests without an event loop."""
    end = time.monotonic() + deadline_seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline_seconds} s still not: {what} (last value: {value!r})")
        time.sleep(POLL_SECONDS)
    return value


def passed(moment: float) -> bool:
    """Whether a time (seconds since the epoch) is past by more than a millisecond."""
    return time.time() > moment + 0.001


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
