"""Scrapes that cannot crowd out a process's work.

Making the text takes milliseconds in which the event loop does nothing else. So those who ask while a text is being
made share the next one, and between two texts there is a pause that leaves most of the time to others. No answer is
older than its question, and one scraper that comes now and then waits for nothing.
"""

import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

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
        self._turns: _Turns | None = None
        self._not_before = 0.0

    async def answer(self) -> Answer:
        """Give a text that was begun after this call."""
        loop = anyio.lowlevel.current_token()
        turns = self._turns
        if turns is None or turns.loop != loop:
            turns = self._turns = _Turns(loop)
        wanted = turns.begun + 1
        turns.waiting += 1
        async with turns.lock:  # one of those who wait makes the text for all of them
            if turns.last is None or turns.made < wanted:
                await anyio.sleep(max(0.0, self._not_before - time.monotonic()))
                number = turns.begun + 1
                turns.last = await self._make(turns)
                turns.made = number
            return turns.last

    async def _make(self, turns: "_Turns") -> Answer:
        turns.begun += 1
        scrapers, turns.waiting = turns.waiting, 0
        began = time.monotonic()
        try:
            return await self._render()
        finally:
            took = (time.monotonic() - began) * (1 + SENDING * scrapers)
            self._not_before = time.monotonic() + min(took * (1 / SHARE - 1), MAX_PAUSE_SECONDS)


class _Turns:
    """What is known in one event loop.

    Attributes:
        loop: which one.
        lock: of whoever makes a text, or waits until it is time.
        begun: how many texts were begun.
        made: the number of the last that was made.
        last: that text.
        waiting: how many wait for the next one.
    """

    def __init__(self, loop: object) -> None:
        self.loop = loop
        self.lock = anyio.Lock()
        self.begun = self.made = 0
        self.last: Answer | None = None
        self.waiting = 0
