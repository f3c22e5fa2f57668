"""Coroutines that run beside the real work and end with it, and work that a signal may cut short."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

CANCEL_AGAIN_SECONDS = 0.5
MIN_PAUSE_SECONDS = 0.05
TELL_AGAIN_SECONDS = 30.0

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - says what happened; no error
    """The process was told to end before its work was done."""


def _log() -> Any:  # noqa: ANN401 - structlog's own type for it
    import structlog  # noqa: PLC0415 - the store loads without it

    return structlog.get_logger("service.background")


@asynccontextmanager
async def background_tasks(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines for as long as the block lasts; one that fails is logged at once, and the block goes on."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            _log().error("a background task failed", exc_info=error)

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
                _log().exception("a round of background work failed")
        now = loop.time()
        due = now if more else max(due + seconds, now + MIN_PAUSE_SECONDS)
        await asyncio.sleep(due - now)


async def unless_stopped(coroutine: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    """Return what a coroutine returns.

    Raises:
        Stopped: `stop` was set first; the coroutine has been cancelled and has ended.
    """
    work = asyncio.ensure_future(coroutine)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            raise Stopped
        return work.result()
    finally:
        await cancel_and_wait((work, stopping))


async def cancel_and_wait(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks, again and again until all have ended; their errors stay in them.

    Once is not enough: a library may turn a cancellation into an error of its own, which loops survive, or lose it.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)


def mend_wait_for() -> None:
    """Give Python 3.11 the `asyncio.wait_for` of 3.12, for the libraries that use it: its own loses cancellations.

    One that comes in the turn in which the awaited work is done is thrown away there, and redis-py sends each command
    in it: of a busy loop, every ninth cancellation went unheard. Called once, by the program, before it does anything.
    """
    if sys.version_info < (3, 12):
        asyncio.wait_for = _wait_for  # type: ignore[assignment] # noqa: TID251


async def _wait_for(work: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109 - the name is asyncio's
    """As CPython 3.12 has it."""
    async with asyncio.timeout(timeout):
        return await work
