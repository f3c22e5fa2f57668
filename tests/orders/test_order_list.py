"""The list of all orders: each once, by the time of its acceptance, whatever the clock and the shards do."""

import secrets
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from service.ledger import order_list
from service.ledger.audit import dump_ledger, violations
from service.ledger.order_list import Direction, OrderFilter, Position
from service.ledger.orders import Order, Status, at
from service.store import Shards
from tests.orders.machine import NOW, SCRIPTS
from tests.orders.sale import AT_ONCE, LONG, Sale

ALL = OrderFilter()
START = 1_800_000_000_000


async def read(sale: Sale, which: OrderFilter = ALL, *, size: int = 100, first: Direction = "newest") -> list[str]:
    """Read the whole list, a page at a time."""
    found: list[str] = []
    after: Position | None = None
    while True:
        orders, after = await sale.order_list.page(which, size, after, first=first)
        found += [order.order_id for order in orders]
        if after is None:
            return found


def by_age(orders: list[Order]) -> list[str]:
    """Return ids, the oldest order first."""
    return [order.order_id for order in sorted(orders, key=lambda order: (order.accepted_at, order.order_id))]


async def several(sale: Sale, count: int = 3) -> list[Order]:
    """Place a few orders by one call, which are accepted at one moment."""
    placed = await sale.place(*(sale.request(user_id=f"user-{number}") for number in range(count)))
    return [placement.order for placement in placed if placement.order]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
async def test_each_order_once_from_either_end(sale: Sale, size: int) -> None:
    """Also those of one moment, on both sides of a page's end, and those of several calls within it."""
    await sale.product(stock=100)
    orders = [order for _ in range(4) for order in await several(sale)]
    expected = by_age(orders)
    assert await read(sale, size=size, first="oldest") == expected
    assert await read(sale, size=size) == expected[::-1]


@pytest.mark.parametrize("size", [1, 3, 100])
async def test_orders_of_all_shards_come_in_one_sequence(store: Redis, size: int) -> None:
    """Also where one shard has many and another none."""
    sale = await Sale.open(store, count=4)
    names = [f"product-{number}" for number in range(6)]
    for name in names:
        await sale.product(name, stock=1000)
    orders = [await sale.buy(names[secrets.randbelow(6) if secrets.randbelow(2) else 0]) for _ in range(40)]
    expected = by_age(orders)
    assert await read(sale, size=size) == expected[::-1]
    assert await read(sale, size=size, first="oldest") == expected
    of_one = [order for order in orders if order.product_id == names[0]]
    assert await read(sale, OrderFilter(product_id=names[0]), size=size, first="oldest") == by_age(of_one)
    await sale.dump()


async def test_filters(sale: Sale) -> None:
    """By product, user, statuses and time, and by several of them at once."""
    await sale.product(stock=100)
    await sale.product("lamp", stock=100)
    first = await sale.buy(user_id="ann")
    second = await sale.buy("lamp", user_id="ann")
    third = await sale.buy("lamp", user_id="bob")
    await sale.take()
    await sale.settle(first)
    await sale.settle(third, Status.FAILED, "declined")
    ids = {first.order_id: 1, second.order_id: 2, third.order_id: 3}

    async def found(**which: object) -> list[int]:
        return sorted(ids[order_id] for order_id in await read(sale, OrderFilter(**which)))  # type: ignore[arg-type]

    assert await found(product_id="lamp") == [2, 3]
    assert await found(user_id="ann") == [1, 2]
    assert await found(user_id="ann", product_id="lamp") == [2]
    assert await found(statuses=frozenset({Status.CONFIRMED})) == [1]
    assert await found(statuses=frozenset({Status.CONFIRMED, Status.FAILED})) == [1, 3]
    assert await found(user_id="bob", statuses=frozenset({Status.CONFIRMED})) == []
    assert await found(product_id="ghost") == []
    moment = timedelta(microseconds=1)
    for user in (None, "ann"):
        assert 1 not in await found(user_id=user, accepted_after=first.accepted_at + moment)
        assert 1 in await found(user_id=user, accepted_after=first.accepted_at)
        assert 1 in await found(user_id=user, accepted_before=first.accepted_at + moment)
        assert await found(user_id=user, accepted_before=first.accepted_at) == []
        assert await found(user_id=user, accepted_before=at(0)) == []


async def test_where_few_fit_a_page_is_short_and_not_the_last(sale: Sale, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is asked for a little at a time, and not without end for one page."""
    monkeypatch.setattr(order_list, "LOOKS", 4)
    monkeypatch.setattr(order_list, "MAX_CALLS", 2)
    await sale.product(stock=100)
    rare = await sale.buy(user_id="rare")
    await sale.ledger.cancel(rare.order_id)
    for _ in range(7):
        await several(sale)
    which = OrderFilter(statuses=frozenset({Status.CANCELLED}))
    page = await sale.order_list.page(which, 5)
    assert page.orders == []
    assert page.end is not None
    assert await read(sale, which, size=5) == [rare.order_id]


async def test_a_requeued_order_stands_once_where_it_was_accepted_anew(sale: Sale) -> None:
    """Else an export would have it twice."""
    await sale.product()
    letter = await sale.dead_letter()
    others = await several(sale)
    await sale.dead_letters.requeue([letter.order_id], LONG)
    again = await sale.order(letter)
    assert again.accepted_at >= others[0].accepted_at
    assert sorted(await read(sale)) == sorted(o.order_id for o in (letter, *others))
    assert await read(sale, first="oldest") == by_age([again, *others])


async def test_what_is_forgotten_leaves_the_list(sale: Sale) -> None:
    """An entry goes with the last of its orders, so that the list does not grow for ever."""
    await sale.product(stock=100)
    orders = await several(sale, 4)
    kept = await sale.buy()
    for order in orders[:3]:
        await sale.ledger.cancel(order.order_id)
    keep_nothing = sale.under(retention=AT_ONCE).ledger
    assert await keep_nothing.forget(0) == 3
    assert await read(sale) == by_age([orders[3], kept])[::-1]
    assert await sale.shards.client.xlen("{fs:00}:accepted") == 2
    await sale.ledger.cancel(orders[3].order_id)
    assert await keep_nothing.forget(0) == 1
    assert await sale.shards.client.xlen("{fs:00}:accepted") == 1


async def test_a_clock_that_steps_back_loses_no_order(store: Redis) -> None:
    """Those accepted then stand behind the latest; they are found, listed once, and forgotten like others."""
    await store.set(NOW, START)
    shards = Shards(store, SCRIPTS)
    await shards.prepare()
    sale = Sale(shards)
    await sale.product(stock=100)
    before = await sale.buy()
    await store.set(NOW, START - 3_600_000)
    during = [await sale.buy(), *await several(sale)]
    await store.set(NOW, START + 1)
    after = await sale.buy()
    listed = await read(sale, first="oldest")
    assert listed[-1] == after.order_id
    assert sorted(listed[:-1]) == sorted(order.order_id for order in (before, *during))
    await sale.dump()
    await sale.ledger.cancel(during[0].order_id)
    assert await sale.under(retention=AT_ONCE).ledger.forget(0) == 1
    assert await store.xlen("{fs:00}:accepted") == 3


async def test_what_is_no_list_is_put_aside(sale: Sale) -> None:
    """A key of another type in its place costs no order: the next ones are listed, and the audit tells."""
    await sale.product()
    await sale.shards.client.set("{fs:00}:accepted", "mine now")
    order = await sale.buy()
    assert await read(sale) == [order.order_id]
    found = [violation.detail for violation in violations(await dump_ledger(sale.shards))]
    assert len(found) == 1
    assert found[0].startswith("key accepted: a string")
    await sale.shards.client.delete("{fs:00}:damaged")
