"""Coroutines that run beside the real work, and end with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import structlog

CANCEL_AGAIN_SECONDS = 0.5
MIN_PAUSE_SECONDS = 0.05


@asynccontextmanager
async def background_tasks(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs coroutines for as long as the block lasts; one that fails is written down at once, the block goes on."""
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
        await _end(tasks)


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

    Raises:
        Exception: Whatever else a round raises ends the work.
    """
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        more = None
        try:
            more = await work()
        except outage as error:
            on_outage(error)
        now = loop.time()
        due = now if more else max(due + seconds, now + MIN_PAUSE_SECONDS)
        await asyncio.sleep(due - now)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels until all have ended.

    A library may turn a cancellation into an error of its own, which loops survive; and Python 3.11's `wait_for`, in
    which redis-py sends, loses one that comes in the turn in which the command was written.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
