"""Scrapes that cannot crowd out a process's work.

Making the text takes milliseconds in which the event loop does nothing else. So those who ask while a text is being
made share the next one, and between two texts there is a pause that leaves most of the time to others. No answer is
older than its question, and one scraper that comes now and then waits for nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

SHARE = 0.1
"""How much of the time the making and sending of texts may take."""
SENDING = 0.2
"""What sending a text to one scraper takes of what making it takes: measured with 40 kB."""
MAX_PAUSE_SECONDS = 1.0

Answer = tuple[bytes, str]


class SharedScrape:
    """One format of ``/metrics``.

    Args:
        render: makes the text anew; gives the body and the content type.
    """

    def __init__(self, render: Callable[[], Awaitable[Answer]]) -> None:
        self._render = render
        self._next: asyncio.Task[Answer] | None = None  # not begun yet
        self._last: asyncio.Task[Answer] | None = None  # begun
        self._not_before = 0.0
        self._waiting = 0

    async def answer(self) -> Answer:
        """Give a text that was begun after this call."""
        waiting = self._next
        if waiting is None or waiting.get_loop() is not asyncio.get_running_loop():
            waiting = self._next = asyncio.ensure_future(self._make(self._last))
            waiting.add_done_callback(_forget_failure)
        self._waiting += 1
        return await asyncio.shield(waiting)

    async def _make(self, before: "asyncio.Task[Answer] | None") -> Answer:
        mine = asyncio.current_task()
        try:
            if before is not None and before.get_loop() is asyncio.get_running_loop() and not before.done():
                await asyncio.wait((before,))
            await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
        finally:
            if self._next is mine:
                self._last, self._next = self._next, None
            scrapers, self._waiting = self._waiting, 0
        began = time.monotonic()
        try:
            return await self._render()
        finally:
            took = (time.monotonic() - began) * (1 + SENDING * scrapers)
            self._not_before = time.monotonic() + min(took * (1 / SHARE - 1), MAX_PAUSE_SECONDS)


def _forget_failure(task: "asyncio.Task[Answer]") -> None:
    """Who waits is told; when nobody waits any more, nobody need be."""
    if not task.cancelled():
        task.exception()
