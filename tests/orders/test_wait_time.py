"""How long an order placed now would wait: what the ledger knows of it, and what a process makes of that."""

from dataclasses import replace
from time import monotonic

import pytest
from redis.asyncio import Redis

from service.ledger.ledger import Settlement
from service.ledger.orders import Order, Status
from service.ledger.snapshot import Snapshot
from service.orders.wait_time import WaitEstimator
from service.store import Shards
from tests.orders.machine import BEGINNING, NOW, scripts
from tests.orders.sale import Sale
from tests.support import RedisServer
from tests.support.shop import open_shop, problem


class Works:
    """A sale whose clock the test winds, and one worker who does what he is told."""

    def __init__(self, sale: Sale) -> None:
        self.sale = sale
        self._now = BEGINNING

    async def passes(self, milliseconds: int) -> None:
        """Let time pass."""
        self._now += milliseconds
        await self.sale.shards.client.set(NOW, self._now)

    async def take(self, orders: int) -> list[Order]:
        """Take some orders in hand."""
        return [begun.order for begun in await self.sale.take(limit=orders) if begun.order]

    async def do(self, orders: int, milliseconds: int) -> None:
        """Take so many orders and settle them after some time, all at once."""
        taken = await self.take(orders)
        await self.passes(milliseconds)
        await self.sale.ledger.settle(0, [Settlement(order.order_id, Status.CONFIRMED) for order in taken])


@pytest.fixture
async def works(store: Redis) -> Works:
    """Return a worker with a hundred orders before him."""
    made: dict[str, str] = scripts()
    sale = Sale(Shards(store, made))
    works = Works(sale)
    await works.passes(0)
    await sale.shards.prepare()
    await sale.product(stock=1000)
    for _ in range(10):
        await sale.place(*(sale.request() for _ in range(10)))
    return works


async def test_the_pace_is_that_of_workers_who_have_enough_to_do(works: Works) -> None:
    """Ten every half a second are twenty a second, at once, and not two as a mean of ten seconds; then it is kept."""
    for _ in range(3):
        await works.do(10, 500)
    snapshot = await works.sale.snapshot()
    assert snapshot.waiting == 70
    assert snapshot.capacity == pytest.approx(20, rel=0.1)
    assert (await works.sale.buy()).estimated_wait_seconds == pytest.approx(70 / snapshot.drain_rate, rel=0.01)
    await works.passes(3_600_000)
    assert (await works.sale.snapshot()).capacity == snapshot.capacity


@pytest.mark.parametrize("seconds", [5, 15])
async def test_slow_workers_are_known_as_slow(works: Works, seconds: int) -> None:
    """One settlement every few seconds, with a line all the while: each before a new order takes as long."""
    for _ in range(4):
        await works.do(1, seconds * 1000)
    assert (await works.sale.snapshot()).capacity == pytest.approx(1 / seconds, rel=0.01)
    assert (await works.sale.buy()).estimated_wait_seconds == pytest.approx(96 * seconds, rel=0.02)
    await works.passes(5000)
    assert (await works.sale.buy()).estimated_wait_seconds == pytest.approx(97 * seconds, rel=0.02)
    line = WaitEstimator(clock=lambda: 0)
    line.refresh(await works.sale.snapshot(), 0)
    assert line.wait_seconds() == pytest.approx(98 * seconds, rel=0.02)


async def test_an_hour_without_workers_says_nothing_of_their_pace(works: Works) -> None:
    """They went while a line waited: the time of their absence is not held against them."""
    await works.do(10, 500)
    await works.passes(3_500_000)
    await works.do(10, 500)
    assert (await works.sale.snapshot()).capacity == pytest.approx(20, rel=0.01)


async def test_what_a_lost_worker_left_says_little_of_the_pace(works: Works) -> None:
    """The orders were begun an hour ago, by another; the line waited, and who takes them over is quick."""
    await works.do(10, 500)
    left = await works.sale.deliver(limit=10)
    await works.sale.begin(*left)
    await works.passes(3_600_000)
    taken = [begun.order for begun in await works.sale.begin(*left) if begun.order]
    await works.sale.ledger.settle(0, [Settlement(order.order_id, Status.CONFIRMED) for order in taken])
    assert (await works.sale.snapshot()).capacity >= 5


async def test_when_all_are_in_hand_the_time_they_take_is_not_the_pace(works: Works) -> None:
    """A line of one is gone at once; that its payment is slow says nothing of how many could be paid beside it."""
    for _ in range(3):
        await works.do(33, 500)
    before = (await works.sale.snapshot()).capacity
    assert before == pytest.approx(66, rel=0.01)
    await works.do(1, 30_000)
    assert (await works.sale.snapshot()).capacity == before


async def test_a_trickle_says_nothing_of_the_pace(works: Works) -> None:
    """Workers who wait for orders settle as many as there are: nobody who comes then is told to wait."""
    await works.do(100, 1000)
    for _ in range(5):
        await works.passes(1000)
        order = await works.sale.buy()
        assert order.estimated_wait_seconds == 0
        await works.do(1, 10)
    assert (await works.sale.snapshot()).capacity == 0


async def test_the_first_of_the_line_says_how_long_it_waits(works: Works) -> None:
    """By the entry's own time; those in hand do not stand in the line."""
    taken = await works.take(99)
    snapshot = await works.sale.snapshot()
    assert (snapshot.waiting, snapshot.queue_length, snapshot.processing) == (1, 100, 99)
    await works.take(1)
    assert (await works.sale.snapshot()).waited_seconds == 0
    assert len(taken) == 99


async def test_the_error_of_a_promise_counts_where_there_was_one(works: Works) -> None:
    """The first order was promised no wait, those behind it nothing as no pace was known, later ones their wait."""
    await works.do(1, 0)
    assert (await works.sale.snapshot()).eta_error_seconds == 0
    await works.passes(4000)
    await works.do(99, 0)
    assert (await works.sale.snapshot()).eta_error_seconds == 0


@pytest.fixture
async def quiet(works: Works) -> Snapshot:
    """Return a snapshot to be changed."""
    return await works.sale.snapshot()


class Clock:
    """A clock that stands until somebody moves it."""

    now = 50.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_process_counts_what_it_added_and_what_was_done_since(quiet: Snapshot) -> None:
    """A line of 100 at 20 a second is 5 s; 20 orders more are another; a second later it is one less."""
    clock = Clock()
    line = WaitEstimator(4, clock)
    assert (line.wait_seconds(), line.seconds_over_limit()) == (0, 0)
    line.refresh(replace(quiet, waiting=100, capacity=20, drain_rate=20, throughput=20), clock.now)
    assert (line.wait_seconds(), line.seconds_over_limit()) == (5, 1)
    line.record_enqueued(20)
    assert line.wait_seconds() == 6
    clock.now += 1
    assert line.wait_seconds() == 5
    clock.now += 5
    assert line.seconds_over_limit() == 0


def test_what_the_ledger_promised_tells_of_the_orders_of_other_processes(quiet: Snapshot) -> None:
    """It counts for as long as it takes; not before a pace is known."""
    clock = Clock()
    line = WaitEstimator(4, clock)
    line.refresh(replace(quiet, waiting=20, capacity=20, drain_rate=20, throughput=20), clock.now)
    line.record_enqueued(1, 7.5)
    assert line.wait_seconds() == 7.5
    clock.now += 2
    assert (line.wait_seconds(), line.seconds_over_limit()) == (5.5, 1.5)
    clock.now += 2
    assert line.wait_seconds() == 3.5, "however old the snapshot is"
    line.record_enqueued(1, 0.5)
    assert line.wait_seconds() == 0.5
    line.refresh(replace(quiet, waiting=0, capacity=0, drain_rate=7, throughput=7), clock.now)
    line.record_enqueued(1, 7.5)
    assert line.wait_seconds() == 0


def test_while_nobody_works_time_takes_nothing_off(quiet: Snapshot) -> None:
    """The longer of what the last known pace says and what the first order has waited, or the latter alone."""
    clock = Clock()
    line = WaitEstimator(4, clock)
    line.refresh(replace(quiet, waiting=100, capacity=20, drain_rate=20, throughput=0, waited_seconds=2), clock.now - 1)
    assert line.wait_seconds() == 5
    line.refresh(replace(quiet, waiting=100, capacity=20, drain_rate=20, throughput=0, waited_seconds=9), clock.now - 1)
    assert line.wait_seconds() == 9
    line.refresh(replace(quiet, waiting=100, capacity=0, drain_rate=7, throughput=7, waited_seconds=3), clock.now - 1)
    assert (line.wait_seconds(), line.seconds_over_limit()) == (3, 0)
    line.refresh(replace(quiet, waiting=0, capacity=0, throughput=0), clock.now)
    assert line.wait_seconds() == 0


async def test_who_would_wait_too_long_is_told_when_to_come_again(valkey_server: RedisServer) -> None:
    """503 with the time until the line is short enough; refusals are counted, and a limit of 0 is none."""
    async with open_shop(valkey_server.url, max_wait_seconds=4) as shop:
        await shop.put(stock=10)
        snapshot = await shop.service.poller.fresh()
        shop.service.poller._on_reading = lambda *_: None
        # As of a minute to come, so that it is not stale however slow this machine is.
        shop.service.wait_estimator.refresh(
            replace(snapshot, waiting=100, capacity=1, drain_rate=1, throughput=1), monotonic() + 60
        )
        refused = await shop.order()
        problem(refused, 503, "overloaded")
        assert 100 < int(refused.headers["retry-after"]) <= 156
        assert await shop.rejections(reason="overloaded") == 1
        shop.service.wait_estimator._limit = 0
        assert (await shop.order()).status_code == 202
