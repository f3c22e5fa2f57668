"""How tasks are ended, and work that a signal may cut short. Imports nothing but asyncio: the store needs it, too."""

import asyncio
import sys
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, TypeVar

CANCEL_AGAIN_SECONDS = 0.5

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - says what happened; no error
    """The process was told to end before its work was done."""


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
