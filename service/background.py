"""Coroutines that run beside the real work and end with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeAlias

import structlog

from service.cancellation import cancel_and_wait

MIN_PAUSE_SECONDS = 0.05
RESTART_SECONDS = 1.0
MAX_ROUND_SECONDS = 60.0
TELL_AGAIN_SECONDS = 30.0


Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


@asynccontextmanager
async def background_tasks(*works: Work) -> AsyncIterator[None]:
    """Keep works going for as long as the block lasts: one that ends, and however it ends, is begun anew.

    None of them is meant to end, so each end is written down. A cancellation counts, too: one that comes out of a
    call, when what that call shared with others was cancelled, would end a loop without a word.

    Args:
        works: Each is called for a coroutine that runs until it is cancelled.
    """
    kept = [_Kept(work) for work in works]
    try:
        yield
    finally:
        await cancel_and_wait([one.release() for one in kept])


class _Kept:
    """A work and the task that does it now."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._released = False
        self._log = structlog.get_logger("service.background")
        self._begin()

    def release(self) -> "asyncio.Task[None]":
        """Return the last task, which is not followed by another."""
        self._released = True
        return self._task

    def _begin(self) -> None:
        if not self._released:
            self._task = asyncio.create_task(self._work())
            self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if self._released and error is None:
            return
        name = getattr(task.get_coro(), "__qualname__", "")
        self._log.error("a background task ended", task=name, cancelled=task.cancelled(), exc_info=error)
        asyncio.get_running_loop().call_later(RESTART_SECONDS, self._begin)


async def every(
    seconds: float,
    work: Callable[[], Awaitable[bool | None]],
    *,
    outage: tuple[type[Exception], ...] = (),
    limit: float = MAX_ROUND_SECONDS,
    on_outage: Callable[[Exception], None] = lambda _: None,
    pause: Callable[[float], Awaitable[float | None]] = asyncio.sleep,
) -> NoReturn:
    """Do some work again and again until cancelled, a round every `seconds` however long a round takes.

    Args:
        seconds: From the beginning of one round to that of the next; a round that takes longer delays the next, which
            then begins `MIN_PAUSE_SECONDS` later, and none is made up for.
        work: One round. Where it returns True there is more to do, and the next round begins at once.
        outage: The errors that say that something is down for a time: the round ends, the next comes in its turn.
        limit: How long a round may take. One that hangs is cut off there, whatever it waits for; that is no outage.
        on_outage: Told each such error.
        pause: Waits for the next round, for so many seconds or as it knows better; the round after that is then counted
            from the time, by the event loop, that it returns.

    Whatever else a round raises is a defect, or data that nobody foresaw: it is written down, at most once in
    `TELL_AGAIN_SECONDS`, and the next round comes in its turn, too. Work that ended here would be missed by nobody.
    """
    loop = asyncio.get_running_loop()
    due = loop.time()
    tell_at = due
    while True:
        more = None
        bound = asyncio.timeout(limit)
        try:
            async with bound:
                more = await work()
        except Exception as error:  # noqa: BLE001 - see above
            if isinstance(error, outage) and not bound.expired():
                on_outage(error)
            elif loop.time() >= tell_at:
                tell_at = loop.time() + TELL_AGAIN_SECONDS
                structlog.get_logger("service.background").exception("a round of background work failed")
        now = loop.time()
        due = now if more else max(due + seconds, now + MIN_PAUSE_SECONDS)
        due = await pause(due - now) or due
