"""Placing an order: every outcome, every boundary, and lists in which each order stands for itself."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.client import NEVER_DECODE

from service.ledger.catalogue import Change
from service.ledger.orders import ORDER_ID, Outcome, Status, new_order_id, shard_of_order
from service.store import keys
from tests.orders.sale import LONG, Sale, outcomes
from tests.support import wait_until

DAY = timedelta(days=1)


async def test_an_accepted_order_is_all_that_was_asked_for(sale: Sale) -> None:
    """The order carries price, times and its place in the queue; its units are held; it waits in the queue."""
    await sale.product(price=4_999, stock=10)
    (placement,) = await sale.place(request := sale.request(quantity=3))
    order = placement.order
    assert (placement.outcome, placement.units_left) == (Outcome.ACCEPTED, 7)
    assert order is not None
    assert (order.order_id, order.product_id, order.user_id) == (request.order_id, "phone", "ann")
    assert (order.quantity, order.unit_price, order.currency, order.amount) == (3, 4_999, "EUR", 14_997)
    assert (order.status, order.attempts, order.settled_at, order.reason, order.generation) == (
        Status.PENDING,
        0,
        None,
        None,
        0,
    )
    assert order.expires_at - order.accepted_at == LONG
    assert abs(order.accepted_at - datetime.now(UTC)) < timedelta(seconds=5)
    assert (order.queue_position, order.estimated_wait_seconds) == (1, 0)
    assert await sale.units() == (7, 3, 0)
    (entry,) = await sale.deliver()
    assert (entry.order_id, entry.traceparent) == (order.order_id, request.traceparent)


async def test_the_position_in_the_queue_counts_all_who_came_before(sale: Sale) -> None:
    """Orders of one list, of other lists and those put aside for later all stand before the next one."""
    await sale.product()
    first = await sale.buy()
    await sale.take()
    await sale.defer(first, LONG)
    placements = await sale.place(*[sale.request() for _ in range(3)])
    assert [placement.order.queue_position for placement in placements if placement.order] == [2, 3, 4]


async def test_refusals_change_nothing(sale: Sale) -> None:
    """Each refusal has its own word, says what is left, is counted, and leaves no other trace in the books."""
    now = datetime.now(UTC)
    await sale.product("phone", stock=2)
    await sale.product("limited", stock=9, limit=2)
    await sale.product("tomorrow", stock=5, opens=now + DAY)
    await sale.product("yesterday", stock=4, opens=now - 2 * DAY, closes=now - DAY)
    placements = await sale.place(
        sale.request("nothing"),
        sale.request("tomorrow"),
        sale.request("yesterday"),
        sale.request("limited", quantity=3),
        sale.request("phone", quantity=3),
    )
    assert [(p.outcome, p.units_left, p.order) for p in placements] == [
        (Outcome.UNKNOWN_PRODUCT, 0, None),
        (Outcome.SALE_NOT_OPEN, 5, None),
        (Outcome.SALE_CLOSED, 4, None),
        (Outcome.LIMIT_EXCEEDED, 9, None),
        (Outcome.SOLD_OUT, 2, None),
    ]
    dump = await sale.dump()
    assert (dict(dump.orders), dump.snapshot.queue_length, sum(dump.snapshot.orders.values())) == ({}, 0, 0)
    assert {reason: n for reason, n in dump.snapshot.rejections.items() if n} == {
        str(placement.outcome): 1 for placement in placements
    }
    assert all((product.held, product.sold) == (0, 0) for product in dump.products.values())


async def test_the_last_unit_is_sold_and_no_more(sale: Sale) -> None:
    """Exactly the stock can be bought; an order for more than is left takes nothing of it."""
    await sale.product(stock=3)
    assert await sale.try_buy(quantity=4) is Outcome.SOLD_OUT
    assert await sale.try_buy(quantity=2) is Outcome.ACCEPTED
    assert await sale.try_buy(quantity=2) is Outcome.SOLD_OUT
    assert await sale.try_buy(quantity=1) is Outcome.ACCEPTED
    assert await sale.try_buy(quantity=1) is Outcome.SOLD_OUT
    assert await sale.units() == (0, 3, 0)


async def test_the_limit_counts_what_a_buyer_holds_and_bought(sale: Sale) -> None:
    """The limit is met exactly, per buyer, over all orders; what was given back counts no more."""
    await sale.product(limit=3)
    bought = await sale.buy(quantity=1)
    await sale.take()
    await sale.settle(bought)
    held = await sale.buy(quantity=1)
    assert await sale.try_buy(quantity=2) is Outcome.LIMIT_EXCEEDED
    assert await sale.try_buy(quantity=1) is Outcome.ACCEPTED
    assert await sale.try_buy(quantity=1) is Outcome.LIMIT_EXCEEDED
    assert await sale.try_buy(user_id="bob", quantity=3) is Outcome.ACCEPTED
    await sale.ledger.cancel(held.order_id)
    assert await sale.try_buy(quantity=1) is Outcome.ACCEPTED


async def test_the_limit_is_told_before_the_stock(sale: Sale) -> None:
    """Who may not buy that many is told so although too few are left, unless none is; the window comes before both."""
    await sale.product("phone", stock=1, limit=2)
    await sale.product("tomorrow", stock=1, limit=2, opens=datetime.now(UTC) + DAY)
    assert await sale.try_buy(quantity=3) is Outcome.LIMIT_EXCEEDED
    assert await sale.try_buy() is Outcome.ACCEPTED
    assert await sale.try_buy(quantity=3) is Outcome.SOLD_OUT
    assert await sale.try_buy("tomorrow", quantity=3) is Outcome.SALE_NOT_OPEN


async def test_the_window_holds_its_beginning_and_not_its_end(sale: Sale) -> None:
    """An order is accepted from `opens_at` on and until just before `closes_at`, by the store's clock."""
    now = datetime.now(UTC)
    opens = now.replace(microsecond=now.microsecond // 1000 * 1000) + timedelta(milliseconds=500)
    closes = opens + timedelta(milliseconds=300)
    await sale.product(stock=100_000, opens=opens, closes=closes)
    seen: dict[Outcome, list[datetime]] = {}

    async with asyncio.timeout(10):
        while Outcome.SALE_CLOSED not in seen:
            before = datetime.now(UTC)
            (placement,) = await sale.place(sale.request())
            seen.setdefault(placement.outcome, []).append(placement.order.accepted_at if placement.order else before)
    assert list(seen) == [Outcome.SALE_NOT_OPEN, Outcome.ACCEPTED, Outcome.SALE_CLOSED]
    assert seen[Outcome.SALE_NOT_OPEN][-1] < opens <= seen[Outcome.ACCEPTED][0]
    assert seen[Outcome.ACCEPTED][-1] < closes <= datetime.now(UTC)


async def test_a_sale_without_times_is_open_at_once_and_for_good(sale: Sale) -> None:
    """`opens_at` becomes the store's now, and an order of the same moment is accepted."""
    _, product = await sale.product(opens=None, closes=None)
    assert product is not None
    order = await sale.buy()
    assert product.opens_at <= order.accepted_at
    assert (product.closes_at, product.is_open(order.accepted_at), product.is_open(product.opens_at)) == (
        None,
        True,
        True,
    )


async def test_a_sale_without_times_stays_open_when_the_clock_steps_back(sale: Sale) -> None:
    """It was put on sale by a clock that was an hour ahead; one that has a time to open at waits for it."""
    _, product = await sale.product(opens=None, closes=None)
    assert product is not None
    _, again = await sale.product(opens=None, closes=None)
    assert again is not None
    assert (again.opens_at, again.revision) == (product.opens_at, product.revision), "the same again changes nothing"
    written = await sale.shards.client.hget("{fs:00}:product:phone", "opens")
    assert str(written).startswith("-"), "below zero: open, whatever the clock says"
    ahead = str(round((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000))
    await sale.shards.client.hset("{fs:00}:product:phone", "opens", f"-{ahead}")
    assert await sale.try_buy() is Outcome.ACCEPTED
    read = await sale.catalogue.product("phone")
    assert read is not None
    assert read.is_open(datetime.now(UTC))
    await sale.shards.client.hset("{fs:00}:product:phone", "opens", ahead)
    assert await sale.try_buy() is Outcome.SALE_NOT_OPEN


async def test_a_product_that_closes_before_it_opens_is_refused(sale: Sale) -> None:
    """Neither creating nor changing makes an empty window."""
    now = datetime.now(UTC)
    assert (await sale.product(opens=now, closes=now))[0] is Change.BAD_WINDOW
    assert await sale.catalogue.product("phone") is None
    await sale.product(opens=now, closes=now + DAY)
    assert (await sale.catalogue.patch("phone", opens=now + DAY))[0] is Change.BAD_WINDOW
    assert (await sale.catalogue.patch("phone", closes=now - DAY))[0] is Change.BAD_WINDOW


class TestIdempotency:
    """An `Idempotency-Key` makes one order of many requests."""

    async def test_the_same_request_gets_the_same_order(self, sale: Sale) -> None:
        """A replay shows the order as it stands now and takes no units."""
        await sale.product()
        first = await sale.buy(key="k")
        await sale.ledger.cancel(first.order_id)
        (again,) = await sale.place(sale.request(key="k"))
        assert again.outcome is Outcome.REPLAYED
        assert again.order == await sale.order(first)
        assert await sale.units() == (10, 0, 0)

    async def test_another_body_under_the_key_is_a_conflict(self, sale: Sale) -> None:
        """The key is bound to its first request, and tells the other request nothing of the order."""
        await sale.product()
        await sale.buy(key="k")
        (other,) = await sale.place(sale.request(key="k", quantity=2))
        assert (other.outcome, other.order) == (Outcome.IDEMPOTENCY_CONFLICT, None)

    async def test_a_key_comes_before_every_refusal(self, sale: Sale) -> None:
        """A replay is answered also when the sale is over and everything sold."""
        await sale.product(stock=1)
        await sale.buy(key="k")
        await sale.catalogue.patch("phone", closes=datetime.now(UTC) + timedelta(milliseconds=20))
        await wait_until(lambda: _is(sale, Outcome.SALE_CLOSED), what="the sale is closed")
        assert await sale.try_buy(key="k") is Outcome.REPLAYED

    async def test_a_refusal_does_not_bind_the_key(self, sale: Sale) -> None:
        """The same key may try again, with another body too, until one order is accepted."""
        await sale.product(stock=1)
        assert await sale.try_buy(key="k", quantity=2) is Outcome.SOLD_OUT
        assert await sale.try_buy(key="k", quantity=1) is Outcome.ACCEPTED

    async def test_within_one_list_too(self, sale: Sale) -> None:
        """Two requests with one key that share a round trip make one order."""
        await sale.product()
        first, second, third = await sale.place(
            sale.request(key="k"), sale.request(key="k"), sale.request(key="k", quantity=2)
        )
        assert outcomes([first, second, third]) == ["accepted", "replayed", "idempotency_conflict"]
        assert second.order == first.order

    async def test_a_key_is_kept_for_its_time(self, sale: Sale) -> None:
        """The binding ends by itself; afterwards the key makes a new order."""
        await sale.product()
        short = sale.under(idempotency=timedelta(milliseconds=1))
        first = await short.buy(key="k")
        await wait_until(lambda: _is(sale, Outcome.ACCEPTED, key="k"), what="the key is free again")
        assert len((await sale.dump()).orders) == 2
        assert await sale.status(first) is Status.PENDING

    async def test_the_very_same_order_again_is_accepted_again(self, sale: Sale) -> None:
        """A client that lost the reply gets what the first reply said, with a key and without."""
        await sale.product()
        for request in (sale.request(key="k"), sale.request()):
            (first,) = await sale.place(request)
            (again,) = await sale.place(request)
            assert (again.outcome, again.order) == (Outcome.ACCEPTED, first.order)
        assert await sale.units() == (8, 2, 0)


async def test_each_order_of_a_list_stands_for_itself(sale: Sale) -> None:
    """A refusal in the middle does not touch what comes before or after; the order of the list decides."""
    await sale.product("phone", stock=3)
    await sale.product("watch", stock=1, limit=1)
    placements = await sale.place(
        sale.request("phone", "ann", 2),
        sale.request("watch", "ann", 2),
        sale.request("phone", "bob", 2),
        sale.request("watch", "bob", 1, key="k"),
        sale.request("ghost", "bob", 1),
        sale.request("watch", "cid", 1),
        sale.request("watch", "bob", 1, key="k"),
        sale.request("phone", "bob", 1),
    )
    assert outcomes(placements) == [
        "accepted",
        "limit_exceeded",
        "sold_out",
        "accepted",
        "unknown_product",
        "sold_out",
        "replayed",
        "accepted",
    ]
    assert [p.units_left for p in placements if p.outcome is Outcome.ACCEPTED] == [1, 0, 0]
    assert (await sale.units("phone"), await sale.units("watch")) == ((0, 3, 0), (0, 1, 0))


@pytest.mark.parametrize("name", ["a b", "{x}", "a:b", "%7Bx%7D", "é\n☃", "*", "x" * 200, "'; DROP", "order:1"])
async def test_any_name_of_a_product_and_a_buyer_is_kept_apart(sale: Sale, name: str) -> None:
    """What a client may send as an id neither leaves the shard nor meets another key, and comes back as it was."""
    await sale.product(name, stock=5, limit=2)
    await sale.product("phone", stock=5)
    order = await sale.buy(name, name, 2)
    assert ((await sale.order(order)).product_id, order.user_id) == (name, name)
    assert await sale.try_buy(name, name) is Outcome.LIMIT_EXCEEDED
    assert [listed.order_id for listed in await sale.orders_of(name, 10)] == [order.order_id]
    assert (await sale.units(name), await sale.units("phone")) == ((3, 2, 0), (5, 0, 0))
    never_decode: dict[str, Any] = {NEVER_DECODE: True}
    found = {key async for key in sale.shards.client.scan_iter(**never_decode)}
    assert all(key.startswith(b"{fs:00}:") for key in found)
    assert all(key.isascii() for key in found if key != b"{fs:00}:o:" + bytes.fromhex(order.order_id[2:]))


def test_an_order_id_carries_its_shard() -> None:
    """The shard is read from the id, for every shard that there may be."""
    ids = [new_order_id(shard) for shard in range(keys.MAX_SHARDS)]
    assert [shard_of_order(order_id) for order_id in ids] == list(range(keys.MAX_SHARDS))
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(ORDER_ID, order_id) for order_id in ids)


async def _is(sale: Sale, outcome: Outcome, key: str = "") -> bool:
    return await sale.try_buy(user_id="eve" if not key else "ann", key=key) is outcome
