"""Coroutines beside the real work end with it, whatever a library makes of a cancellation."""

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.background import Work, background_tasks, every


async def test_they_run_as_long_as_the_block() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async with background_tasks(partial(work, "one"), partial(work, "two")):
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

    async with asyncio.timeout(20), background_tasks(stubborn):
        await asyncio.sleep(0)
    assert swallowed == 2


def at_once(main: Callable[[asyncio.AbstractEventLoop], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine in an event loop of asyncio's own whose clock jumps to the next timer instead of waiting."""

    class Clock(selectors.DefaultSelector):
        now = 0.0

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            Clock.now += timeout or 0
            return super().select(0)

    class Loop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return Clock.now

    with asyncio.Runner(loop_factory=lambda: Loop(Clock())) as runner:
        runner.run(main(runner.get_loop()))


async def fails() -> None:
    raise ZeroDivisionError


async def returns() -> None:
    """End without a word."""


async def shares_what_is_cancelled() -> None:
    """End by a cancellation that is not its own, as of a reading that it shares with others."""
    shared = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(shared.cancel)
    await shared


@pytest.mark.parametrize("ends", [fails, returns, shares_what_is_cancelled])
@pytest.mark.parametrize("loops", [False, True], ids=["itself", "in every()"])
def test_one_that_ends_is_told_and_begun_anew(ends: Work, loops: bool) -> None:
    """However it ends, and the others go on; also where a round of `every` ends the loop."""

    async def main(_: asyncio.AbstractEventLoop) -> None:
        begun: Counter[str] = Counter()

        async def breaks() -> None:
            begun["breaks"] += 1
            await ends()

        async def goes_on() -> None:
            begun["goes on"] += 1
            await asyncio.Event().wait()

        broken = partial(every, 1, breaks) if loops else breaks
        with capture_logs() as logs:
            async with background_tasks(broken, goes_on):
                await asyncio.sleep(3.5)
            assert begun == {"breaks": 4, "goes on": 1}
            await asyncio.sleep(5)
        assert begun["breaks"] == 4, "none is begun after the block"
        assert bool(logs) == (not loops or ends is not returns)

    at_once(main)


def test_a_round_that_hangs_is_cut_off() -> None:
    """It is no outage, which nobody would be told of, and the next round comes."""

    async def main(_: asyncio.AbstractEventLoop) -> None:
        rounds = 0

        async def hangs() -> None:
            nonlocal rounds
            rounds += 1
            await asyncio.Event().wait()

        with capture_logs() as logs, suppress(TimeoutError):
            async with asyncio.timeout(100):
                await every(1, hangs, outage=(OSError,), limit=30)
        assert rounds == 4
        assert [entry["event"] for entry in logs] == ["a round of background work failed"] * 3

    at_once(main)


@pytest.mark.parametrize(
    ("takes", "starts"),
    [(0.0, [0, 1, 2, 3, 4]), (0.7, [0, 1, 2, 3, 4]), (1.5, [0, 1.55, 3.1, 4.65, 6.2])],
)
def test_rounds_begin_in_time_however_long_they_take(takes: float, starts: list[float]) -> None:
    """A slow round does not delay those after it by what it took; none is made up for; an outage changes nothing."""

    async def main(loop: asyncio.AbstractEventLoop) -> None:
        began: list[float] = []
        told: list[str] = []

        async def work() -> None:
            began.append(loop.time())
            await asyncio.sleep(takes)
            if len(began) % 2:
                raise ConnectionError(str(len(began)))

        with suppress(TimeoutError):
            async with asyncio.timeout(starts[-1] + 0.01):
                await every(1, work, outage=(OSError,), on_outage=lambda error: told.append(str(error)))
        assert began == pytest.approx(starts)
        assert told == [str(number) for number in (1, 3, 5)][: len(told)]
        assert len(told) >= 2

    at_once(main)


def test_more_to_do_is_done_at_once() -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> None:
        began: list[float] = []

        async def work() -> bool:
            began.append(loop.time())
            return len(began) < 4

        with suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                await every(1, work)
        assert began == pytest.approx([0, 0, 0, 0, 1])

    at_once(main)


def test_an_error_that_is_no_outage_is_written_down_and_ends_nothing() -> None:
    """Once in a while, not each time; the rounds go on."""

    async def main(_: asyncio.AbstractEventLoop) -> None:
        rounds = 0

        async def work() -> None:
            nonlocal rounds
            rounds += 1
            raise KeyError("a defect")

        with capture_logs() as logs, suppress(TimeoutError):
            async with asyncio.timeout(40.5):
                await every(1, work, outage=(OSError,))
        assert rounds == 41
        assert [entry["event"] for entry in logs] == ["a round of background work failed"] * 2

    at_once(main)
