"""Coroutines that run beside the real work, and end with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

CANCEL_AGAIN_SECONDS = 0.5


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
