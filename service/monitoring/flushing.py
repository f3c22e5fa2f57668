"""A process reports once a second what it counted in memory, and once more before it ends."""

import asyncio
from contextlib import suppress
from typing import Protocol

from service.background import every
from service.store import STORE_ERRORS
from telemetry import suppressed

INTERVAL_SECONDS = 1.0
LAST_SECONDS = 1.0


class Flushable(Protocol):
    """What keeps its counts when the store is down, and sends them the next time."""

    async def flush(self) -> None:
        """Send what is new."""


async def flush_periodically(*counts: Flushable) -> None:
    """Report until cancelled; while the store is down it goes on trying, the poller has told the log."""
    await every(INTERVAL_SECONDS, lambda: _flush(counts))


async def flush_last(*counts: Flushable) -> None:
    """Report what is left, if the store takes it in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_SECONDS):
            await _flush(counts)


async def _flush(counts: tuple[Flushable, ...]) -> None:
    async def flush(one: Flushable) -> None:
        with suppressed(), suppress(*STORE_ERRORS):
            await one.flush()

    await asyncio.gather(*map(flush, counts))
