"""A reading: all who ask while one is away share the next, so nobody gets an answer older than the question."""

import asyncio

import pytest
from opentelemetry.sdk.trace import TracerProvider
from redis.exceptions import ConnectionError as StoreConnectionError

from service.store import BatchTrace, SharedRead
from tests.support import wait_until


class Clock:
    """A value that is read while a gate is open, and how often it was."""

    def __init__(self) -> None:
        self.value = 0
        self.asked = 0
        self.ended = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None
        self.traces: list[BatchTrace] = []

    async def read(self, trace: BatchTrace) -> int:
        """Look at the value now, and answer when the gate is open."""
        self.asked += 1
        self.traces.append(trace)
        value = self.value
        try:
            await self.gate.wait()
        finally:
            self.ended += 1
        if self.error is not None:
            raise self.error
        return value


async def begun(clock: Clock, reading: SharedRead[int]) -> asyncio.Task[int]:
    """Ask once, and return when the reading is away."""
    task = asyncio.create_task(reading())
    await wait_until(lambda: clock.asked == 1)
    return task


async def test_nobody_is_told_what_was_read_before_the_question() -> None:
    """Two hundred who ask while a reading is away get the next one, and it is one for all of them."""
    clock = Clock()
    reading = SharedRead(clock.read)
    first = await begun(clock, reading)
    clock.value = 1
    others = [asyncio.create_task(reading()) for _ in range(200)]
    await asyncio.sleep(0)
    assert clock.asked == 1
    clock.gate.set()
    assert await first == 0
    assert await asyncio.gather(*others) == [1] * 200
    assert clock.asked == 2
    clock.value = 2
    assert await reading() == 2


async def test_who_gives_up_harms_nobody() -> None:
    """Neither the one for whom the reading began nor one of those who wait."""
    clock = Clock()
    reading = SharedRead(clock.read)
    first = await begun(clock, reading)
    one, other = (asyncio.create_task(reading()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    one.cancel()
    clock.value = 1
    clock.gate.set()
    assert await asyncio.wait_for(other, 5) == 1
    await asyncio.wait((first, one), timeout=5)
    assert first.cancelled()
    assert one.cancelled()


async def test_a_store_that_is_down_is_told_to_all_at_once() -> None:
    """Those who wait do not wait for another deadline; a later question is another try."""
    clock = Clock()
    reading = SharedRead(clock.read)
    tasks = [await begun(clock, reading), *(asyncio.create_task(reading()) for _ in range(50))]
    await asyncio.sleep(0)
    clock.error = StoreConnectionError("gone")
    clock.gate.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [clock.error] * 51
    assert clock.asked == 1
    clock.error = None
    assert await reading() == 0


async def test_a_mistake_of_ours_is_told_to_those_it_happened_to() -> None:
    """Who waits gets a reading of its own."""
    clock = Clock()
    reading = SharedRead(clock.read)
    first = await begun(clock, reading)
    second = asyncio.create_task(reading())
    await asyncio.sleep(0)
    clock.error = ValueError("wrong")
    clock.gate.set()
    with pytest.raises(ValueError, match="wrong"):
        await first
    with pytest.raises(ValueError, match="wrong"):
        await second
    assert clock.asked == 2


async def test_when_it_is_closed_nothing_is_under_way() -> None:
    """The reading that is away has ended, who waited is cancelled; whoever asks later is answered all the same."""
    clock = Clock()
    reading = SharedRead(clock.read)
    tasks = [await begun(clock, reading), *(asyncio.create_task(reading()) for _ in range(3))]
    await asyncio.sleep(0)
    await reading.aclose()
    assert (clock.asked, clock.ended) == (1, 1)
    await asyncio.wait(tasks, timeout=5)
    assert all(task.cancelled() for task in tasks)
    hasty = asyncio.create_task(reading())
    await asyncio.sleep(0)
    await reading.aclose()
    await asyncio.wait((hasty,), timeout=5)
    assert hasty.cancelled()
    clock.gate.set()
    assert await asyncio.wait_for(reading(), 5) == 0


async def test_a_reading_belongs_to_the_traces_that_share_it() -> None:
    """A child of the first that is recorded, linked to the others."""
    tracer = TracerProvider().get_tracer("test")
    clock = Clock()
    reading = SharedRead(clock.read)

    async def ask(name: str) -> None:
        with tracer.start_as_current_span(name):
            await reading()

    first = asyncio.create_task(ask("first"))
    await wait_until(lambda: clock.asked == 1)
    others = [asyncio.create_task(ask(str(n))) for n in range(3)]
    await asyncio.sleep(0)
    clock.gate.set()
    await asyncio.gather(first, *others)
    assert [len(trace.links) for trace in clock.traces] == [0, 2]
    assert all(trace.context is not None for trace in clock.traces)
