"""Timers of an event loop, which know when the loop itself stood still.

A process that was stopped, or that its machine left without a core, finds on waking that every deadline is past, and
beside them, unread, what came in time. So a timer that comes late waits `GRACE_SECONDS` more, once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

LATE_SECONDS: Final = 0.25
GRACE_SECONDS: Final = 0.25


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Bound what is done in the block, as `asyncio.timeout` does.

    Raises:
        TimeoutError: It took longer.
    """
    loop = asyncio.get_running_loop()
    timer = Deadline(loop)
    async with asyncio.timeout(None) as bound:
        timer.start(seconds, lambda: bound.reschedule(loop.time()))
        try:
            yield
        finally:
            timer.cancel()


class Deadline:
    """Calls something once, unless it is cancelled before.

    Args:
        loop: The event loop of the calls.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and is neither over nor cancelled."""
        return self._handle is not None

    def start(self, seconds: float, call: Callable[[], object]) -> None:
        """Call in so many seconds; what was to be called before is not."""
        self.cancel()
        due = self._loop.time() + seconds
        self._handle = self._loop.call_at(due, self._due, due, call)

    def cancel(self) -> None:
        """Call nothing."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _due(self, due: float, call: Callable[[], object]) -> None:
        if self._loop.time() > due + LATE_SECONDS:
            self._handle = self._loop.call_later(GRACE_SECONDS, self._over, call)
        else:
            self._over(call)

    def _over(self, call: Callable[[], object]) -> None:
        self._handle = None
        call()
