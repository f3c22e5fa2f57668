"""The time that a process has to end, shared between the work that it finishes and the telemetry that it hands over.

Each part had a time of its own: a payment that does not answer took all of `SHUTDOWN_SECONDS`, a collector that does
not answer three seconds more, and both in one process after the other made nine.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

from service.cancellation import cancel_and_wait

EXIT_SECONDS: Final = 0.5
"""For what comes after all: closing connections, leaving the interpreter."""
TELEMETRY_SECONDS: Final = 1.0
"""What the work leaves to the telemetry, or half the time where there is less than twice that."""
MAX_TELEMETRY_SECONDS: Final = 3.0


class Ending:
    """From when a process is told to end it has `seconds`.

    Args:
        seconds: `SHUTDOWN_SECONDS`.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = max(seconds - EXIT_SECONDS, seconds / 2)
        self._begun: float | None = None
        self._told: list[Callable[[], None]] = []

    def on_begin(self, call: Callable[[], None]) -> None:
        """Call something when the process is told to end, for what would go on as long as it is let."""
        self._told.append(call)

    @property
    def work_seconds(self) -> float:
        """For finishing what was begun."""
        return max(self._seconds - TELEMETRY_SECONDS, self._seconds / 2)

    @property
    def telemetry_seconds(self) -> float:
        """For handing over the last telemetry, after the work: what is left, and never nothing."""
        gone = 0.0 if self._begun is None else monotonic() - self._begun
        least = min(TELEMETRY_SECONDS, self._seconds / 2)
        return min(max(self._seconds - gone, least), MAX_TELEMETRY_SECONDS)

    @asynccontextmanager
    async def begins_with(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Let the time run from when `stop` is set, during the block and after it."""
        noting = asyncio.create_task(self._note(stop))
        try:
            yield
        finally:
            await cancel_and_wait((noting,))

    async def _note(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._begun = monotonic()
        for call in self._told:
            call()
