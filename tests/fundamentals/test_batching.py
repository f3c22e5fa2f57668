"""A batcher: callers of one moment share one call, each gets its own reply, and nobody waits in vain."""

import asyncio
from collections.abc import Sequence

import pytest

from service.store.batching import Batcher
from tests.support import wait_until


class Line:
    """Something to send to that answers when told to; it doubles numbers."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.gate = asyncio.Event()

    async def send(self, items: Sequence[int]) -> list[int]:
        """Note the batch, wait for the gate, answer."""
        self.sent.append(list(items))
        await self.gate.wait()
        if any(item < 0 for item in items):
            raise ConnectionError("the line is dead")
        return [2 * item for item in items]


async def submitted(batcher: Batcher[int, int], line: Line, *items: int) -> list[asyncio.Task[int]]:
    """Submit items, each from a task of its own, and wait until they are sent or in line."""
    before = len(batcher) + sum(map(len, line.sent))
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    await wait_until(lambda: len(batcher) + sum(map(len, line.sent)) == before + len(items), what="all came")
    return tasks


async def test_one_caller_does_not_wait_for_others() -> None:
    """The first item goes at once, alone."""
    line = Line()
    line.gate.set()
    assert await asyncio.wait_for(Batcher(line.send).submit(21), 1) == 42
    assert line.sent == [[21]]


async def test_a_caller_may_submit_again_at_once() -> None:
    """In the very turn in which its reply came, while the sender is about to stop."""
    line = Line()
    line.gate.set()
    batcher = Batcher(line.send)

    async def one_after_the_other() -> list[int]:
        return [await batcher.submit(item) for item in range(100)]

    assert await asyncio.wait_for(one_after_the_other(), 5) == [2 * item for item in range(100)]


async def test_what_comes_meanwhile_goes_together_in_its_order() -> None:
    """While one batch is away the next one gathers; each caller gets its own reply."""
    line = Line()
    batcher = Batcher(line.send)
    tasks = await submitted(batcher, line, 0)
    tasks += await submitted(batcher, line, *range(1, 10))
    assert (line.sent, len(batcher)) == ([[0]], 9)
    line.gate.set()
    assert await asyncio.gather(*tasks) == [2 * item for item in range(10)]
    assert line.sent == [[0], list(range(1, 10))]


async def test_callers_of_one_turn_share_a_call() -> None:
    """Tasks that submit before the loop turns are one batch."""
    line = Line()
    line.gate.set()
    batcher = Batcher(line.send)
    assert await asyncio.gather(*[batcher.submit(item) for item in range(50)]) == [2 * item for item in range(50)]
    assert line.sent == [list(range(50))]


async def test_no_batch_is_larger_than_agreed() -> None:
    """More callers than fit go in several batches, one after the other."""
    line = Line()
    line.gate.set()
    batcher = Batcher(line.send, limit=4)
    await asyncio.gather(*[batcher.submit(item) for item in range(10)])
    assert line.sent == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_no_more_batches_are_away_than_there_are_lanes() -> None:
    """The second lane serves while the first is away; the third caller waits for either."""
    line = Line()
    batcher = Batcher(line.send, limit=1, lanes=2)
    tasks = await submitted(batcher, line, 1, 2, 3)
    await wait_until(lambda: len(line.sent) == 2, what="both lanes are busy")
    assert len(batcher) == 1
    line.gate.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]


async def test_an_error_reaches_those_of_its_batch_alone() -> None:
    """Those who came later are served by the next call."""
    line = Line()
    batcher = Batcher(line.send, limit=2)
    line.gate.set()
    said = await asyncio.gather(*[batcher.submit(item) for item in (1, -1, 2, 3)], return_exceptions=True)
    assert [str(one) for one in said] == ["the line is dead", "the line is dead", "4", "6"]
    assert await asyncio.wait_for(batcher.submit(5), 1) == 10


async def test_when_the_other_side_is_down_nobody_waits_for_it_twice() -> None:
    """An error that ends all is the answer to those in line too, and the next caller is tried afresh."""
    line = Line()
    batcher = Batcher(line.send, limit=1, ends_all=lambda error: isinstance(error, ConnectionError))
    tasks = await submitted(batcher, line, -1, 2, 3)
    line.gate.set()
    said = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(one) for one in said] == ["the line is dead"] * 3
    assert (line.sent, len(batcher)) == ([[-1]], 0)
    assert await asyncio.wait_for(batcher.submit(5), 1) == 10


async def test_a_caller_who_gives_up_harms_nobody() -> None:
    """What it had sent runs to its end; what it had in line is not sent; the others get their replies."""
    line = Line()
    batcher = Batcher(line.send)
    away, also_away = await submitted(batcher, line, 1, 2)
    gone, stays = await submitted(batcher, line, 3, 4)
    away.cancel()
    gone.cancel()
    await wait_until(lambda: away.cancelled() and gone.cancelled(), what="both gave up")
    line.gate.set()
    assert (await also_away, await stays) == (4, 8)
    assert line.sent == [[1, 2], [4]]


async def test_a_reply_too_few_is_an_error_and_not_somebody_elses() -> None:
    """When replies cannot be told apart, every caller of the batch is told so, and the batcher goes on."""
    sent = 0

    async def forget(items: Sequence[int]) -> list[int]:
        nonlocal sent
        sent += 1
        return list(items)[1:] if sent == 1 else list(items)

    batcher = Batcher(forget)
    said = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
    assert [str(one) for one in said] == ["2 items were sent and 1 replies came"] * 2
    assert await asyncio.wait_for(batcher.submit(3), 1) == 3


async def test_when_the_sender_is_cancelled_its_callers_are_too() -> None:
    """A process that ends leaves nobody waiting."""

    async def never(_: Sequence[int]) -> list[int]:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(Batcher(never).submit(1), 1)


async def test_who_waits_is_served_when_the_batch_before_was_cancelled() -> None:
    """By whatever cancelled it: the sender's own call, say. Nobody else comes and begins another batch."""
    away, first = asyncio.Event(), asyncio.Event()

    async def send(items: Sequence[int]) -> list[int]:
        away.set()
        if not first.is_set():
            await first.wait()
            raise asyncio.CancelledError
        return [2 * item for item in items]

    batcher = Batcher(send)
    sent = asyncio.create_task(batcher.submit(1))
    await away.wait()
    waits = asyncio.create_task(batcher.submit(2))
    await wait_until(lambda: len(batcher) == 1, what="it waits")
    first.set()
    async with asyncio.timeout(5):
        assert await waits == 4
    assert sent.cancelled()
