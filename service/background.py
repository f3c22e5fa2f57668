"""Coroutines that run beside the real work and end with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import structlog

from service.cancellation import cancel_and_wait

MIN_PAUSE_SECONDS = 0.05
TELL_AGAIN_SECONDS = 30.0


@asynccontextmanager
async def background_tasks(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines for as long as the block lasts; one that fails is logged at once, and the block goes on."""
    log = structlog.get_logger("service.background")

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("a background task failed", exc_info=error)

    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        await cancel_and_wait(tasks)


async def every(
    seconds: float,
    work: Callable[[], Awaitable[bool | None]],
    *,
    outage: tuple[type[Exception], ...] = (),
    on_outage: Callable[[Exception], None] = lambda _: None,
) -> NoReturn:
    """Do some work again and again until cancelled, a round every `seconds` however long a round takes.

    Args:
        seconds: From the beginning of one round to that of the next; a round that takes longer delays the next, which
            then begins `MIN_PAUSE_SECONDS` later, and none is made up for.
        work: One round. Where it returns True there is more to do, and the next round begins at once.
        outage: The errors that say that something is down for a time: the round ends, the next comes in its turn.
        on_outage: Told each such error.

    Whatever else a round raises is a defect, or data that nobody foresaw: it is written down, at most once in
    `TELL_AGAIN_SECONDS`, and the next round comes in its turn, too. Work that ended here would be missed by nobody.
    """
    loop = asyncio.get_running_loop()
    due = loop.time()
    tell_at = due
    while True:
        more = None
        try:
            more = await work()
        except outage as error:
            on_outage(error)
        except Exception:  # noqa: BLE001 - see above
            if loop.time() >= tell_at:
                tell_at = loop.time() + TELL_AGAIN_SECONDS
                structlog.get_logger("service.background").exception("a round of background work failed")
        now = loop.time()
        due = now if more else max(due + seconds, now + MIN_PAUSE_SECONDS)
        await asyncio.sleep(due - now)
