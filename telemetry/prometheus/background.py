"""Work beside the caller's, under asyncio or trio, whichever runs.

A task group would do it in both, were its block entered and left by one task: who starts an application in one and
stops it in another, as fixtures of tests do, could not use it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

_logger = logging.getLogger(__name__)


def in_background(work: Callable[[], Awaitable[None]]) -> AbstractAsyncContextManager[None]:
    """Do work while a block lasts; what it raises is logged."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _beside_trio(work)
    return _beside_asyncio(work)


@asynccontextmanager
async def _beside_asyncio(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(_logged(work))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


@asynccontextmanager
async def _beside_trio(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    import trio  # noqa: PLC0415 - it runs, so it is there

    scope, ended = trio.CancelScope(), trio.Event()

    async def run() -> None:
        with scope:
            await _logged(work)
        ended.set()

    trio.lowlevel.spawn_system_task(run)
    try:
        yield
    finally:
        scope.cancel()
        with trio.CancelScope(shield=True):
            await ended.wait()


async def _logged(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception:  # telemetry never breaks its host
        _logger.exception("work beside the application has ended")
