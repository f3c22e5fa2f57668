"""The feed of order changes: each change once, with the order as it was then, from wherever one reads it."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from service.ledger.feed import Change, Cursor, CursorExpiredError, Feed, Place
from service.ledger.ledger import Settlement
from service.ledger.once_only import OnceOnly
from service.ledger.orders import Order, Status
from service.ledger.refunds import Refund, refund_order
from service.store import keys
from tests.orders.sale import AT_ONCE, LONG, Sale, ShardsTwice
from tests.support import wait_until

EVENTS = "{fs:00}:events"


async def read(sale: Sale, after: Cursor | None = None, size: int = 100) -> tuple[list[Change], Cursor]:
    """Read to the end, a page at a time, through the text of each cursor."""
    found: list[Change] = []
    while True:
        page = await Feed(sale.shards).read(after, size)
        found += page.changes
        after = Cursor.parse(str(page.end))
        if page.complete:
            return found, after


async def types(sale: Sale, after: Cursor | None = None) -> list[str]:
    """Return what happened, in its order."""
    return [change.type.value for change in (await read(sale, after))[0]]


async def refund(sale: Sale, order: Order, quantity: int | None, reason: str, key: str) -> Order:
    """Give units back."""
    wanted = Refund(order_id=order.order_id, quantity=quantity, reason=reason)
    await refund_order(sale.shards, wanted, OnceOnly(key, key, LONG))
    return await sale.order(order)


async def test_each_change_comes_with_the_order_as_it_was(sale: Sale) -> None:
    """Also when it is read long after, when the order is another."""
    await sale.product(stock=20)
    order = await sale.buy(quantity=3)
    pending = await sale.order(order)
    await sale.take()
    assert await types(sale) == ["pending"], "a worker's attempt is no change that anybody is told of"
    await sale.settle(order, payment_id="paid")
    confirmed = await sale.order(order)
    part = await refund(sale, order, 1, "one was broken", "a")
    whole = await refund(sale, order, None, "all were", "b")
    changes, _ = await read(sale)
    assert [change.type.value for change in changes] == ["pending", "confirmed", "refunded", "refunded"]
    assert [change.order for change in changes] == [pending, confirmed, part, whole]
    assert [change.order.status for change in changes[2:]] == [Status.CONFIRMED, Status.REFUNDED]
    assert [change.order.reason for change in changes[1:]] == [None, "one was broken", "all were"]
    assert changes[1].time == confirmed.settled_at


async def test_an_order_that_was_requeued_had_several_lives(sale: Sale) -> None:
    """All are told as they were: the first had other times, places, attempts and another reason."""
    await sale.product()
    dead = await sale.dead_letter()
    (first, _), _ = await read(sale)
    lived = [first.order, dead]
    for reason in ("again", ""):
        await wait_until(lambda: _later(sale, lived[-1]), what="a millisecond passes")
        await sale.dead_letters.requeue([dead.order_id], LONG)
        lived.append(await sale.order(dead))
        assert lived[-1].accepted_at > lived[-2].accepted_at
        await sale.take()
        if reason:
            await sale.under(attempts=1).defer(dead, reason=reason)
        else:
            await sale.settle(dead, payment_id="paid")
        lived.append(await sale.order(dead))
    changes, _ = await read(sale)
    assert [change.type.value for change in changes] == [
        "pending",
        "failed",
        "pending",
        "failed",
        "pending",
        "confirmed",
    ]
    assert [change.order for change in changes] == lived


async def _later(sale: Sale, order: Order) -> bool:
    return (await sale.snapshot()).taken_at > (order.settled_at or order.accepted_at)


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_a_page_may_end_within_one_call(sale: Sale, size: int) -> None:
    """Three orders of one call are one entry; nothing comes twice, nothing is left out."""
    await sale.product(stock=100)
    for _ in range(3):
        await sale.place(*(sale.request(user_id=f"user-{number}") for number in range(3)))
    changes, end = await read(sale, size=size)
    assert len({change.order.order_id for change in changes}) == len(changes) == 9
    assert changes == (await read(sale))[0]
    assert await read(sale, end) == ([], end)
    for change in changes:
        after = Cursor(end.store, {0: change.end})
        assert (await read(sale, after, size))[0] == changes[changes.index(change) + 1 :]


async def test_a_shard_that_does_not_answer_keeps_its_place(store: Redis) -> None:
    """The others go on meanwhile, and it is said which is missing."""
    sale = await Sale.open(store, count=4)
    names = [f"product-{number}" for number in range(6)]
    for name in names:
        await sale.product(name, stock=100)
    await asyncio.gather(*(sale.buy(name) for name in names))
    away = sale.shards.of(names[0])
    sale.shards.silent = frozenset([away])
    page = await Feed(sale.shards).read(None, 100)
    assert page.missing_shards == (away,)
    there = {change.order.product_id for change in page.changes}
    assert there == {name for name in names if sale.shards.of(name) != away}
    sale.shards.silent = frozenset()
    rest, _ = await read(sale, Cursor.parse(str(page.end)))
    assert {change.order.product_id for change in rest} == set(names) - there
    assert len(rest) + len(page.changes) == len(names)


async def test_what_is_too_old_goes_and_who_missed_it_is_told(sale: Sale, store: Redis) -> None:
    """Who had read all of it misses nothing, and goes on with the same cursor."""
    await sale.product()
    order = await sale.buy()
    half = (await Feed(sale.shards).read(None, 1)).end
    assert not await sale.under(events_retention=LONG).ledger.trim(0)
    assert await types(sale) == ["pending"]
    await sale.take()
    await sale.settle(order)
    _, end = await read(sale)
    assert await sale.under(events_retention=AT_ONCE).ledger.trim(0, 1), "one entry at a time is not all"
    twice = Sale(ShardsTwice(store, sale.shards.scripts), events_retention=AT_ONCE)
    await twice.ledger.trim(0)
    assert await types(sale, end) == await types(sale) == []
    with pytest.raises(CursorExpiredError):
        await read(sale, half)
    await sale.ledger.cancel((await sale.buy()).order_id)
    assert await types(sale, end) == await types(sale) == ["pending", "cancelled"]


async def test_of_an_order_that_is_forgotten_nothing_is_told(sale: Sale) -> None:
    """Its changes go before it does; one that was refunded lately stays until its time is over."""
    await sale.product()
    order, other = await sale.buy(), await sale.buy(user_id="bob")
    await sale.take()
    await sale.settle(order, payment_id="paid")
    await sale.settle(other, Status.FAILED, "declined")
    kept = sale.under(retention=timedelta(milliseconds=300))
    await wait_until(lambda: _aged(sale, order), what="both are old")
    await refund(sale, order, None, "broken", "a")
    await sale.ledger.refunds(0, AT_ONCE, 9, await sale.ledger.refunds(0, AT_ONCE, 9))
    assert await kept.ledger.forget(0) == 1
    assert await types(sale) == ["refunded"]
    assert await wait_until(lambda: kept.ledger.forget(0)) == 1
    assert await types(sale) == []


async def _aged(sale: Sale, order: Order) -> bool:
    settled = (await sale.order(order)).settled_at
    assert settled
    return (await sale.snapshot()).taken_at > settled + timedelta(milliseconds=400)


async def test_a_step_that_breaks_off_has_told_what_it_did(sale: Sale, store: Redis) -> None:
    """Two orders are settled, and the product of the second is damaged meanwhile."""
    await sale.product()
    await sale.product("lamp")
    good, bad = await sale.buy(), await sale.buy("lamp")
    await sale.take()
    _, before = await read(sale)
    product = keys.prefix(0) + "product:lamp"
    await store.rename(product, f"{product}:kept")
    await store.set(product, "not ours")
    paid = [Settlement(order.order_id, Status.CONFIRMED) for order in (good, bad)]
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await sale.ledger.settle(0, paid)
    await store.rename(f"{product}:kept", product)
    (change,), after = await read(sale, before)
    assert change.order == await sale.order(good)
    await sale.ledger.settle(0, paid)
    assert [change.order.order_id for change in (await read(sale, after))[0]] == [bad.order_id]


async def test_foreign_things_in_its_place(sale: Sale, store: Redis) -> None:
    """A foreign entry is passed over; what is no stream is set aside with the next change, which is told."""
    await sale.product()
    await sale.buy()
    _, end = await read(sale)
    await store.xadd(EVENTS, {"e": "not ours"})
    await store.xadd(EVENTS, {"other": "x"})
    await sale.buy(user_id="bob")
    assert await types(sale, end) == ["pending"]
    await store.delete(EVENTS)
    await store.set(EVENTS, "not ours")
    assert await types(sale, end) == []
    assert not await sale.ledger.trim(0)
    await sale.buy(user_id="cid")
    assert await types(sale, end) == ["pending"]
    await store.delete(keys.prefix(0) + "damaged")


async def test_the_ledger_counts_what_it_told(sale: Sale) -> None:
    """By type, whole over all shards."""
    await sale.product()
    order = await sale.buy(quantity=2)
    await sale.ledger.cancel((await sale.buy(user_id="bob")).order_id)
    await sale.take()
    await sale.settle(order)
    await refund(sale, order, 1, "", "a")
    await refund(sale, order, 1, "", "b")
    counted = (await sale.snapshot()).events
    assert {status.value: n for status, n in counted.items() if n} == {
        "pending": 2,
        "cancelled": 1,
        "confirmed": 1,
        "refunded": 2,
    }


@pytest.mark.parametrize("text", ["", "AAAA", "AAAAAA", "x" * 40, "Ä", "%%%", "Aci1fq3KKt0SAAAAAaIcl3uwAAAAAAAAI7HXLw"])
def test_what_was_never_a_cursor(text: str) -> None:
    """Also where one letter is another."""
    with pytest.raises(ValueError, match=r".*"):
        Cursor.parse(text)


async def test_a_cursor_of_another_store(sale: Sale) -> None:
    """What comes after it is not here."""
    with pytest.raises(CursorExpiredError):
        await read(sale, Cursor(4711, {0: Place(0, 0, 0)}))
