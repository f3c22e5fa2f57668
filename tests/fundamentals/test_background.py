"""Coroutines beside the real work end with it, whatever a library makes of a cancellation."""

import asyncio

import pytest

from service.background import background_tasks


async def test_they_run_as_long_as_the_block() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async with background_tasks(work("one"), work("two")):
        await asyncio.sleep(0)
        assert ended == []
    assert sorted(ended) == ["one", "two"]


async def test_a_cancellation_that_became_another_error_is_repeated() -> None:
    """As when a client of the store turns it into a time-out, which the loop takes for an outage."""
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    async with asyncio.timeout(20), background_tasks(stubborn()):
        await asyncio.sleep(0)
    assert swallowed == 2


async def test_one_that_fails_is_told_and_harms_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    async with background_tasks(broken()):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert "a background task failed" in capsys.readouterr().out
