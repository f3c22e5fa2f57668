"""The invariants find what they are there for: each is broken by hand, and named."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from service.ledger.audit import INVARIANTS, SaleMovesError, Violation, dump_ledger, violations
from service.ledger.orders import Order
from service.store import Shards
from tests.orders.sale import LONG, Sale

P = "{fs:00}:"
Spoil = Callable[[Redis, Order], Awaitable[object]]


@pytest.fixture
async def spoilt(valkey: Redis) -> tuple[Sale, Order]:
    """Return a sale with an order in every state, and its pending order. Its books are about to be broken."""
    sale = await Sale.open(valkey)
    await sale.product(stock=20)
    await sale.dead_letter(user_id="dead")
    confirmed, deferred, _begun = [await sale.buy(user_id="bob") for _ in range(3)]
    await sale.take()
    await sale.settle(confirmed)
    await sale.defer(deferred, LONG)
    await sale.ledger.cancel((await sale.buy(user_id="cid")).order_id)
    order = await sale.buy(user_id="ann", quantity=2)
    assert violations(await dump_ledger(sale.shards)) == []
    return sale, order


def key_of(order: Order) -> bytes:
    """Return the key of an order."""
    return f"{P}o:".encode() + bytes.fromhex(order.order_id[2:])


async def rewrite(store: Redis, order: Order, place: int, value: int) -> None:
    """Change one figure of an order, behind the ledger's back: `save` in `_writes.lua` says which stands where."""
    change = "local v = cmsgpack.unpack(redis.call('GET', KEYS[1])); v[tonumber(ARGV[1])] = tonumber(ARGV[2])"
    await store.eval(f"{change}; redis.call('SET', KEYS[1], cmsgpack.pack(v))", 1, key_of(order), place, value)


SPOILS: dict[str, tuple[Spoil, set[str]]] = {
    "a unit out of thin air": (
        lambda store, _: store.hincrby(f"{P}product:phone", "stock", 1),
        {"units_add_up"},
    ),
    "the list of all orders lost": (
        lambda store, _: store.delete(f"{P}accepted"),
        {"orders_are_listed"},
    ),
    "stock below nothing": (
        lambda store, _: store.hincrby(f"{P}product:phone", "stock", -100),
        {"units_add_up", "nothing_is_negative"},
    ),
    "held and sold mixed up": (
        lambda store, _: store.hset(f"{P}product:phone", mapping={"held": 1, "sold": 4}),
        {"orders_explain_units"},
    ),
    "an order that grew": (
        lambda store, order: rewrite(store, order, 4, 3),
        {"orders_explain_units", "limits_count_right"},
    ),
    "a buyer's units forgotten": (
        lambda store, _: store.zrem(f"{P}u:ann", "=phone"),
        {"limits_count_right"},
    ),
    "a buyer's units never given back": (
        lambda store, _: store.zadd(f"{P}u:cid", {"=phone": 1}),
        {"limits_count_right"},
    ),
    "an order counted twice": (
        lambda store, _: store.hincrby(f"{P}totals", "confirmed", 1),
        {"totals_match_orders"},
    ),
    "an accepted order lost": (
        lambda store, order: store.delete(key_of(order)),
        {
            "totals_match_orders",
            "orders_explain_units",
            "limits_count_right",
            "live_orders_are_queued_once",
            "reservations_end",
        },
    ),
    "a generation too many": (
        lambda store, _: store.hincrby(f"{P}totals", "requeued", 1),
        {"totals_match_orders"},
    ),
    "money that no order explains": (
        lambda store, _: store.hincrby(f"{P}totals", "revenue:EUR", -1),
        {"revenue_matches_orders"},
    ),
    "a queue that was trimmed": (
        lambda store, _: store.xtrim(f"{P}queue", 0),
        {"live_orders_are_queued_once"},
    ),
    "an entry twice": (
        lambda store, order: store.xadd(f"{P}queue", {"o": order.order_id}),
        {"live_orders_are_queued_once"},
    ),
    "an order put aside and forgotten": (
        lambda store, _: store.delete(f"{P}delayed"),
        {"live_orders_are_queued_once"},
    ),
    "a dead letter of nobody": (
        lambda store, _: store.zadd(f"{P}dead", {"00" + "0" * 28: 1}),
        {"live_orders_are_queued_once"},
    ),
    "a reservation without an end": (
        lambda store, order: store.zrem(f"{P}deadlines", order.order_id),
        {"reservations_end"},
    ),
    "an order that ended by itself": (
        lambda store, order: rewrite(store, order, 1, 3),
        {
            *("orders_explain_units", "totals_match_orders", "revenue_matches_orders"),
            *("live_orders_are_queued_once", "reservations_end"),
        },
    ),
    "an order of nobody that was found": (
        lambda store, _: store.hset(f"{P}damaged", "order 00ff", "1764200000000 not there"),
        {"nothing_was_set_aside"},
    ),
}


@pytest.mark.parametrize(("spoil", "named"), SPOILS.values(), ids=SPOILS.keys())
async def test_what_is_broken_is_named(spoilt: tuple[Sale, Order], spoil: Spoil, named: set[str]) -> None:
    """Exactly the invariants that no longer hold report a breach, and say for what."""
    sale, order = spoilt
    await spoil(sale.shards.client, order)
    found = violations(await dump_ledger(sale.shards))
    assert {breach.invariant for breach in found} == named
    assert all("phone" in breach.detail or "order" in breach.detail for breach in found)


def test_each_invariant_is_seen_to_fail() -> None:
    """No invariant is without a test that breaks it: a cluster loses a shard in test_slots_move.py; test_tickets.py."""
    broken = {"every_shard_is_there", "tickets_have_numbers_of_their_own"}.union(
        *[named for _, named in SPOILS.values()]
    )
    assert {check.__name__ for check in INVARIANTS} == broken


async def test_a_breach_says_what_and_how_much(spoilt: tuple[Sale, Order]) -> None:
    """The detail is enough to go and look."""
    sale, order = spoilt
    await sale.shards.client.hincrby(f"{P}product:phone", "stock", -3)
    await sale.shards.client.zrem(f"{P}deadlines", order.order_id)
    assert violations(await dump_ledger(sale.shards)) == [
        Violation("units_add_up", "phone: 3 units unexplained"),
        Violation("reservations_end", f"order {order.order_id} has no deadline"),
    ]


async def test_books_are_read_over_all_shards_and_names(store: Redis) -> None:
    """Products and buyers of any name, in any shard, and more orders than one reading takes."""
    sale = await Sale.open(store, count=4)
    names = ["a b", "{x}", "é", "phone", "order:1"]
    for name in names:
        await sale.product(name, stock=1000)
        await sale.place(*[sale.request(name, name) for _ in range(120)])
    dump = await sale.dump()
    assert (len(dump.orders), dump.queued.total(), set(dump.products)) == (600, 600, set(names))
    assert dump.buyers == {(name, name): 120 for name in names}


async def test_a_large_shard_is_read_in_parts(store: Redis) -> None:
    """The books are the same, whether they were read at one instant or bit by bit."""
    sale = await Sale.open(store)
    await sale.product(stock=5000)
    for _ in range(3):
        await sale.place(*[sale.request() for _ in range(500)])
    await sale.take(limit=10)
    at_once, in_parts = await dump_ledger(sale.shards), await dump_ledger(sale.shards, limit=10)
    assert violations(in_parts) == []
    assert (in_parts.orders, in_parts.queued, in_parts.buyers) == (at_once.orders, at_once.queued, at_once.buyers)
    assert (in_parts.deadlines, in_parts.snapshot.orders) == (at_once.deadlines, at_once.snapshot.orders)


class ShardsThatSell(Shards):
    """Places another order whenever orders are read, so that a large shard never keeps still."""

    sale: Sale

    async def run(self, step: str, shard: int, *args: Any, **rest: Any) -> Any:
        """Run the step and sell something behind the reader's back."""
        if step == "dump" and args[-1] != "":
            await self.sale.buy()
        return await super().run(step, shard, *args, **rest)


async def test_a_reading_that_would_be_blurred_is_none(store: Redis) -> None:
    """Rather than books that seem broken because the sale went on, there is an error that says so."""
    sale = await Sale.open(store)
    await sale.product(stock=5000)
    await sale.place(*[sale.request() for _ in range(20)])
    shards = ShardsThatSell(store, sale.shards.scripts)
    shards.sale = sale
    with pytest.raises(SaleMovesError, match="try again later"):
        await dump_ledger(shards, limit=10)
    assert violations(await dump_ledger(shards)) == []
