"""Orders that ended are kept compactly and forgotten after their retention; what they came to stays in the books."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from service.background import background_tasks
from service.ledger.ledger import DeferResult, Settlement
from service.ledger.orders import Order, Outcome, Status
from service.ledger.turns import Siblings
from service.orders.maintenance import maintenance
from service.store import connect
from tests.conftest import MakeServer
from tests.orders.sale import AT_ONCE, LONG, Sale
from tests.support import wait_until

MANY = 6000
BATCH = 100
MAX_BYTES = 450


async def bought(sale: Sale, user_id: str = "ann", quantity: int = 1, **kwargs: str) -> Order:
    """Buy and pay."""
    order = await sale.buy(user_id=user_id, quantity=quantity, **kwargs)
    await sale.take()
    await sale.settle(order, payment_id="paid")
    return await sale.order(order)


def old(sale: Sale) -> Sale:
    """Return the sale with a retention that is over at once."""
    return sale.under(retention=AT_ONCE)


async def test_what_ended_is_forgotten_and_stays_in_the_books(sale: Sale) -> None:
    """Confirmed, failed, expired and cancelled orders go; units, totals and live orders are as they were."""
    await sale.product(stock=20)
    gone = [await bought(sale, "ann", 2), await bought(sale, "bob", 3)]
    failed = await sale.buy(user_id="cid")
    await sale.take()
    await sale.settle(failed, Status.FAILED, "declined")
    cancelled = await sale.buy(user_id="dee")
    await sale.ledger.cancel(cancelled.order_id)
    expired = (await sale.under(reservation=AT_ONCE).place(sale.request(user_id="eve")))[0].order
    await sale.ledger.expire(0)
    assert expired is not None
    begun = await sale.buy(user_id="fay")
    await sale.take()
    pending = await sale.buy(user_id="gus")
    before = await sale.dump()
    assert await old(sale).ledger.forget(0) == 5
    dump = await sale.dump()
    assert dump.orders.keys() == {begun.order_id, pending.order_id}
    assert dump.snapshot.orders == before.snapshot.orders
    assert await sale.units() == (13, 2, 5)
    assert dump.products["phone"].archived == 5
    for order in (*gone, failed, cancelled, expired):
        assert await sale.ledger.order(order.order_id) is None
        assert await sale.orders_of(order.user_id, 10) == []
    assert [found.order_id for found in await sale.orders_of("gus", 10)] == [pending.order_id]
    assert await old(sale).ledger.forget(0) == 0


async def test_nothing_is_forgotten_before_its_time(sale: Sale) -> None:
    """Nor ever, when nobody set a retention."""
    await sale.product()
    order = await bought(sale)
    assert await sale.ledger.forget(0) == 0
    assert await sale.under(retention=LONG).ledger.forget(0) == 0
    assert await sale.order(order) == order


async def test_as_many_at_a_time_as_the_caller_says(sale: Sale) -> None:
    """Those that ended first go first, from however many processes at once."""
    await sale.product()
    orders = [await bought(sale, f"u{number}") for number in range(7)]
    assert await old(sale).ledger.forget(0, 3) == 3
    assert set((await sale.dump()).orders) == {order.order_id for order in orders[3:]}
    assert sum(await asyncio.gather(*(old(sale).ledger.forget(0, 2) for _ in range(5)))) == 4


async def test_a_forgotten_order_counts_against_no_limit(sale: Sale) -> None:
    """The limit of a user is one of orders that are kept."""
    await sale.product(limit=2)
    await bought(sale, quantity=2)
    assert await sale.try_buy() is Outcome.LIMIT_EXCEEDED
    await old(sale).ledger.forget(0)
    assert await sale.try_buy(quantity=2) is Outcome.ACCEPTED


async def test_a_dead_letter_is_not_forgotten_until_somebody_dropped_it(sale: Sale) -> None:
    """A person has to look at it first; one that is requeued lives on."""
    await sale.product(stock=10)
    letters = [await sale.dead_letter(user_id=user) for user in ("ann", "bob")]
    await sale.shards.client.delete("{fs:00}:refunds")
    await sale.dead_letters.requeue([letters[1].order_id], LONG)
    assert await old(sale).ledger.forget(0) == 0
    assert await sale.dead_letters.drop([letters[0].order_id])
    assert await old(sale).ledger.forget(0) == 1
    await sale.take()
    await sale.settle(letters[1])
    assert await old(sale).ledger.forget(0) == 1
    assert (await sale.dump()).orders == {}


async def test_an_order_whose_money_is_owed_stays_until_it_is_given_back(sale: Sale) -> None:
    """Who gives it back reads the order."""
    await sale.product()
    order = await sale.buy()
    await sale.ledger.cancel(order.order_id)
    await sale.ledger.settle(0, [Settlement(order.order_id, Status.CONFIRMED, payment_id="late")])
    await bought(sale, "bob")
    assert await old(sale).ledger.forget(0, 10) == 1
    (owed,) = await sale.ledger.refunds(0, LONG, 10)
    assert owed.order.order_id == order.order_id
    await sale.ledger.refunds(0, LONG, 10, [owed])
    assert await old(sale).ledger.forget(0) == 1


async def test_an_entry_of_a_forgotten_order_is_nobody_s(sale: Sale) -> None:
    """A worker that was asleep all the time finds nothing to do, and its settlement is no order's."""
    await sale.product()
    order = await sale.buy()
    (entry,) = await sale.deliver()
    await sale.begin(entry)
    await sale.settle(order)
    await old(sale).ledger.forget(0)
    assert [begun.result for begun in await sale.begin(entry)] == ["gone"]
    assert (await sale.settle(order)).result == "gone"
    assert await sale.defer(order) is DeferResult.GONE


async def test_the_house_keeps_itself(sale: Sale) -> None:
    """What runs in the first process of a fleet forgets, too."""
    await sale.product()
    await bought(sale)

    async def empty() -> bool:
        return not (await sale.dump()).orders

    async with background_tasks(*maintenance(old(sale).ledger, Siblings())):
        await wait_until(empty, 15, "the order is forgotten")


@pytest.mark.parametrize("server", ["valkey", "redis"])
async def test_an_order_that_ended_takes_little_memory(make_server: MakeServer, server: str) -> None:
    """By `INFO memory`, each of another user: the order, its place in the user's list and among those that ended."""
    async with connect(make_server(server).url, name="test", timeout_seconds=10) as client:
        sale = await Sale.open(client)
        await sale.product("sticker-pack", stock=10 * MANY)
        await sell(sale, 0, BATCH)
        before = await used(client)
        await sell(sale, BATCH, MANY)
        assert (await used(client) - before) / MANY <= MAX_BYTES


async def sell(sale: Sale, first: int, orders: int) -> None:
    """Sell to so many users, in batches."""
    for start in range(first, first + orders, BATCH):
        names = [f"user-{number:07d}" for number in range(start, start + BATCH)]
        await sale.place(*(sale.request("sticker-pack", name) for name in names))
        taken = [begun.order for begun in await sale.take() if begun.order]
        settlements = [Settlement(o.order_id, Status.CONFIRMED, payment_id=f"simulated-{o.order_id}") for o in taken]
        await sale.ledger.settle(0, settlements)


async def used(client: Redis) -> int:
    """Return the memory that the server uses."""
    return int((await client.info("memory"))["used_memory"])


@pytest.mark.parametrize("many", [30, 200], ids=["compact", "long"])
async def test_a_user_s_list_is_in_the_order_of_acceptance(sale: Sale, many: int) -> None:
    """Page by page, whatever became of the orders, with nothing twice."""
    await sale.product(stock=many)
    orders = [await sale.buy() for _ in range(many)]
    for begun in (await sale.take())[::2]:
        assert begun.order is not None
        await sale.settle(begun.order)
    listed: list[Order] = []
    while page := await sale.orders_of("ann", 7, (listed[-1].accepted_at, listed[-1].order_id) if listed else None):
        listed += page
    assert listed == sorted(listed, key=lambda order: (order.accepted_at, order.order_id), reverse=True)
    assert sorted(order.order_id for order in listed) == sorted(order.order_id for order in orders)
    assert {order.accepted_at - order.expires_at for order in listed} == {timedelta(0) - LONG}


async def test_a_user_s_units_are_kept_apart_by_product_and_go_with_the_last(sale: Sale) -> None:
    """They stand in the user's list, are no orders of it, count against each limit alone, and leave nothing behind."""
    for product in ("phone", "watch"):
        await sale.product(product, stock=10, limit=2)
    orders = [await sale.buy("phone", quantity=2), await sale.buy("watch")]
    assert [await sale.try_buy(product, quantity=2) for product in ("phone", "watch")] == [Outcome.LIMIT_EXCEEDED] * 2
    listed = await sale.orders_of("ann", 10)
    assert sorted(order.order_id for order in listed) == sorted(order.order_id for order in orders)
    assert (await sale.dump()).buyers == {("phone", "ann"): 2, ("watch", "ann"): 1}
    for order in orders:
        await sale.ledger.cancel(order.order_id)
    assert ((await sale.dump()).buyers, await old(sale).ledger.forget(0)) == ({}, 2)
    assert await sale.shards.client.exists("{fs:00}:u:ann") == 0


@pytest.mark.parametrize("digits", ["0" * 28, "f" * 28], ids=["long ago", "far ahead"])
async def test_times_are_right_whatever_the_clock_that_made_the_id(sale: Sale, digits: str) -> None:
    """The store's clock says when an order was accepted and ended; it is kept as a difference to the id's time."""
    await sale.product()
    before = (await sale.snapshot()).taken_at
    placed = await sale.buy(order_id=f"00{digits}")
    await sale.take()
    await sale.settle(placed)
    order = await sale.order(placed)
    assert order.order_id == f"00{digits}"
    assert order.settled_at
    assert before <= placed.accepted_at == order.accepted_at <= order.settled_at <= (await sale.snapshot()).taken_at
    assert (order.expires_at - order.accepted_at, order.status) == (LONG, Status.CONFIRMED)
