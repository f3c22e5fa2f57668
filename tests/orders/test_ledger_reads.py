"""What is read from the ledger: orders of a buyer, page by page, and the snapshot behind every metric."""

from datetime import datetime, timedelta

import pytest
from redis.asyncio import Redis

from service.ledger.orders import Order, Status
from service.ledger.snapshot import Snapshot
from tests.orders.sale import AT_ONCE, LONG, Sale, ShardsTwice
from tests.support import wait_until


async def pages(sale: Sale, user: str, size: int) -> list[list[str]]:
    """Read all orders of a user, `size` at a time, as a client that follows the cursor."""
    read: list[list[str]] = []
    cursor: tuple[datetime, str] | None = None
    while page := await sale.orders_of(user, size, cursor):
        read.append([order.order_id for order in page])
        cursor = page[-1].accepted_at, page[-1].order_id
        assert len(read) <= 100, "the pages have no end"
    return read


class TestOrdersOf:
    """A buyer's orders, the newest first."""

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
    async def test_pages_hold_each_order_once(self, sale: Sale, size: int) -> None:
        """Also those accepted in the same millisecond, on both sides of a page's end."""
        await sale.product(stock=100)
        placed_all: list[Order] = []
        for _ in range(3):
            placed = await sale.place(*[sale.request() for _ in range(4)])
            orders = [placement.order for placement in placed if placement.order]
            assert len({order.accepted_at for order in orders}) == 1
            placed_all += orders
        await sale.buy(user_id="bob")
        read = await pages(sale, "ann", size)
        expected = [order.order_id for order in sorted(placed_all, key=_age, reverse=True)]
        assert sum(read, []) == expected  # noqa: RUF017 - a dozen
        assert all(len(page) == size for page in read[:-1])

    async def test_orders_that_come_between_pages_disturb_nothing(self, sale: Sale) -> None:
        """A new order stands before the first page, not in the next one."""
        await sale.product()
        old = [await sale.buy() for _ in range(3)]
        (first,) = await sale.orders_of("ann", 1)
        await wait_until(lambda: _later(sale, first.accepted_at), what="a later millisecond")
        await sale.buy()
        rest = await sale.orders_of("ann", 10, (first.accepted_at, first.order_id))
        assert {order.order_id for order in [first, *rest]} == {order.order_id for order in old}

    async def test_a_requeued_order_is_listed_where_its_time_says(self, sale: Sale) -> None:
        """It was accepted anew, so it is the newest, and paging still holds every order once."""
        await sale.product()
        letter = await sale.dead_letter()
        others = [await sale.buy() for _ in range(3)]
        await wait_until(lambda: _later(sale, others[-1].accepted_at), what="a later millisecond")
        await sale.dead_letters.requeue([letter.order_id], LONG)
        read = sum(await pages(sale, "ann", 1), [])  # noqa: RUF017 - four
        assert read[0] == letter.order_id
        assert sorted(read) == sorted(order.order_id for order in (letter, *others))

    async def test_pages_go_through_every_shard(self, store: Redis) -> None:
        """A buyer's orders of products in different shards come in one sequence."""
        sale = await Sale.open(store, count=4)
        names = [f"product-{number}" for number in range(8)]
        assert {sale.shards.of(name) for name in names} == {0, 1, 2, 3}
        for name in names:
            await sale.product(name)
        orders = [await sale.buy(name) for name in names for _ in range(2)]
        read = sum(await pages(sale, "ann", 3), [])  # noqa: RUF017 - a dozen
        assert read == [order.order_id for order in sorted(orders, key=_age, reverse=True)]
        await sale.dump()

    async def test_nobody_has_no_orders(self, sale: Sale) -> None:
        """An unknown user, or nothing asked for, is an empty list."""
        await sale.product()
        await sale.buy()
        assert (await sale.orders_of("bob", 10), await sale.orders_of("ann", 0)) == ([], [])
        assert await sale.ledger.order("00" + "f" * 28) is None


class TestSnapshot:
    """Every figure that telemetry shows, at one instant."""

    async def test_of_an_empty_store(self, sale: Sale) -> None:
        """Every status is counted from the start, at 0."""
        snapshot = await sale.snapshot()
        statuses = ("pending", "confirmed", "failed", "expired", "cancelled", "refunded")
        assert snapshot.orders == snapshot.events == {Status(status): 0 for status in statuses}
        assert snapshot == Snapshot(
            taken_at=snapshot.taken_at,
            orders=snapshot.orders,
            events=snapshot.events,
            requeued=0,
            products=(),
            queue_length=0,
            processing=0,
            oldest_age_seconds=0,
            dead_letters=0,
            drain_rate=0,
            throughput=0,
            error_rate=0,
            processing_time_avg_ms=0,
            eta_error_seconds=0,
        )

    async def test_counts_of_orders_and_queue(self, sale: Sale) -> None:
        """The queue holds what waits, what is in hand and what was put aside; the totals only grow."""
        await sale.product(stock=100)
        await sale.dead_letter()
        confirmed, deferred, _begun = [await sale.buy() for _ in range(3)]
        await sale.take()
        await sale.settle(confirmed)
        await sale.defer(deferred, LONG)
        cancelled, *_ = [await sale.buy() for _ in range(3)]
        await sale.deliver(limit=1)
        await sale.ledger.cancel(cancelled.order_id)
        await sale.under(reservation=AT_ONCE).buy()
        await sale.ledger.expire(0)
        snapshot = await sale.snapshot()
        assert {str(status): n for status, n in snapshot.orders.items()} == {
            "pending": 8,
            "confirmed": 1,
            "failed": 1,
            "expired": 1,
            "cancelled": 1,
            "refunded": 0,
        }
        assert (snapshot.queue_length, snapshot.processing, snapshot.waiting, snapshot.dead_letters) == (4, 2, 2, 1)
        assert [(p.stock, p.held, p.sold) for p in snapshot.products] == [(95, 4, 1)]

    async def test_rates_of_what_was_settled(self, sale: Sale) -> None:
        """Orders a second over 10 s, share that failed, mean time taken, and how far the one promise was off."""
        await sale.product()
        orders = [await sale.buy() for _ in range(4)]
        begun = await sale.take()
        settled = [await sale.settle(order) for order in orders[:2]]
        settled.append(await sale.settle(orders[2], Status.FAILED, "declined"))
        await wait_until(lambda: _throughput(sale, 0.3), what="the second of the settlements is over")
        snapshot = await sale.snapshot()
        assert snapshot.drain_rate == 0.3
        assert snapshot.error_rate == pytest.approx(100 / 3)
        taken = [one.since_accepted / timedelta(milliseconds=1) for one in settled]
        assert snapshot.processing_time_avg_ms == pytest.approx(sum(taken) / 3)
        waits = [one.wait.total_seconds() for one in begun if one.wait is not None]
        assert snapshot.eta_error_seconds == pytest.approx(-waits[0])

    async def test_the_promise_follows_the_rate(self, sale: Sale) -> None:
        """An order is told how many are before it divided by the rate; the error is promised minus real, once each."""
        await sale.product(stock=100)
        first = await sale.buy()
        await sale.take()
        await sale.settle(first)
        await wait_until(lambda: _throughput(sale, 0.1), what="the second of the settlement is over")
        placed = await sale.place(sale.request(), sale.request())
        assert [p.order.estimated_wait_seconds for p in placed if p.order] == [0, 10]
        begun = await sale.take()
        waits = [one.wait for one in begun if one.wait is not None]
        assert [one.promised_wait for one in begun] == [timedelta(0), timedelta(seconds=10)]
        total = (10 - sum(waits, timedelta()).total_seconds()) / 3
        await wait_until(
            lambda: _nears(sale, total), what="the error of the promise is a mean of three, one of them near 0"
        )

    async def test_windows_end(self, sale: Sale) -> None:
        """Throughput forgets after 10 s, the other figures after 60 s; the rate of draining is kept as last known."""
        now = int((await sale.snapshot()).taken_at.timestamp())
        client = sale.shards.client
        rows = {now - 30: ("settled", 20, "failed", 5, "took", 4000), now - 90: ("settled", 7, "failed", 7)}
        for second, row in rows.items():
            await client.hset(f"{{fs:00}}:second:{second}", items=list(row))
        await client.hset("{fs:00}:totals", "drain", 2500)
        snapshot = await sale.snapshot()
        assert (snapshot.throughput, snapshot.drain_rate) == (0, 2.5)
        assert (snapshot.error_rate, snapshot.processing_time_avg_ms) == (25, 200)

    async def test_the_rate_is_kept_when_nothing_is_settled_any_more(self, sale: Sale) -> None:
        """Each settlement notes the rate of the seconds before it, for the promises made after a pause."""
        await sale.product()
        order = await sale.buy()
        await sale.take()
        now = int((await sale.snapshot()).taken_at.timestamp())
        await sale.shards.client.hset(f"{{fs:00}}:second:{now - 3}", "settled", 40)
        await sale.settle(order)
        async for key in sale.shards.client.scan_iter(match="*:second:*"):
            await sale.shards.client.delete(key)
        assert ((await sale.snapshot()).throughput, (await sale.snapshot()).drain_rate) == (0, 4)
        assert [(await sale.buy()).estimated_wait_seconds for _ in range(3)] == [0, 0.25, 0.5]

    async def test_the_seconds_end_by_themselves(self, sale: Sale) -> None:
        """No row of figures stays for ever, whatever figure came first."""
        await sale.product()
        await sale.dead_letter()
        rows = [key async for key in sale.shards.client.scan_iter(match="*:second:*")]
        assert rows
        assert all([0 < await sale.shards.client.ttl(row) <= 120 for row in rows])

    async def test_the_oldest_order_is_found_wherever_it_waits(self, sale: Sale) -> None:
        """In the queue, in a worker's hands, put aside, or back in the queue behind younger ones."""
        await sale.product()
        order = await sale.buy()
        await wait_until(lambda: _later(sale, order.accepted_at), what="a later millisecond")

        async def oldest() -> datetime:
            snapshot = await sale.snapshot()
            return snapshot.taken_at - timedelta(seconds=snapshot.oldest_age_seconds)

        assert await oldest() == order.accepted_at
        await sale.take()
        younger = await sale.buy()
        assert await oldest() == order.accepted_at
        await sale.defer(order, AT_ONCE)
        assert await oldest() == order.accepted_at
        await sale.ledger.promote(0)
        assert [entry.order_id for entry in await sale.deliver()] == [younger.order_id, order.order_id]
        assert await oldest() == order.accepted_at
        await sale.settle(order)
        assert await oldest() == younger.accepted_at

    async def test_figures_of_shards_add_up(self, store: Redis) -> None:
        """Counts and rates are sums over the shards, ages the largest of them."""
        sale = await Sale.open(store, count=3)
        names = ["a", "b", "c", "d"]
        for name in names:
            await sale.product(name)
        orders = [await sale.buy(name, quantity=2) for name in names]
        await sale.ledger.cancel(orders[0].order_id)
        snapshot = await sale.snapshot()
        assert [product.product_id for product in snapshot.products] == names
        assert (snapshot.orders[Status.PENDING], snapshot.orders[Status.CANCELLED]) == (4, 1)
        assert (snapshot.queue_length, sum(product.held for product in snapshot.products)) == (3, 6)
        await sale.dump()


def _age(order: Order) -> tuple[datetime, str]:
    return order.accepted_at, order.order_id


async def _later(sale: Sale, moment: datetime) -> bool:
    return (await sale.snapshot()).taken_at > moment


async def _throughput(sale: Sale, rate: float) -> bool:
    return (await sale.snapshot()).throughput == rate


async def _nears(sale: Sale, seconds: float) -> bool:
    return abs((await sale.snapshot()).eta_error_seconds - seconds) < 1


async def test_a_point_of_the_past_that_is_noted_twice_is_one(sale: Sale) -> None:
    """And of those that are near each other the first, whoever notes them."""
    twice = ShardsTwice(sale.shards.client, sale.shards.scripts)
    for when, figures in ((1000, "one"), (2000, "two"), (2500, "near")):
        await twice.run("note_past", 0, when, figures, 60_000)
    assert await sale.shards.run("past", 0) == ["one", "two"]
