"""A timer of an event loop that runs or does not."""

import asyncio
from collections.abc import Callable


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
        self._handle = self._loop.call_later(seconds, self._over, call)

    def cancel(self) -> None:
        """Call nothing."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _over(self, call: Callable[[], object]) -> None:
        self._handle = None
        call()
