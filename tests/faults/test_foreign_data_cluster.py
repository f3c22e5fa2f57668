"""Foreign and damaged data in a real cluster: the harm of a slot is its own, set aside, counted and named."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from itertools import count

import httpx
import pytest
from redis.asyncio import Redis

from service.ledger.audit import LedgerDump, dump_ledger, violations
from service.ledger.ledger import ledger_scripts
from service.ledger.order_table import LIVE
from service.orders.maintenance import MEND_AT_REST_SECONDS
from service.store import STORE_ERRORS, Shards, connect, keys
from tests.faults.kit import fleet, put_product
from tests.support.cli import flash_sale
from tests.support.clusters import Cluster
from tests.support.counts import injected
from tests.support.http import http_client
from tests.support.waiting import wait_until

SHARDS = 6
ENV = {"STORE_SHARDS": str(SHARDS)}
NUMBERS = keys.spread(SHARDS)
STOCK = 1000
MENDED_SECONDS = MEND_AT_REST_SECONDS + 5

Harm = Callable[[Redis, str, str], Awaitable[object]]


def product_of(shard: int, start: str = "p") -> str:
    """Return a product that a shard has; its name begins so."""
    return next(name for n in count() if NUMBERS[keys.shard_of(name := f"{start}{n}", SHARDS)] == shard)


async def retype_queue(client: Redis, prefix: str, _: str) -> None:
    """Put a string in the place of the queue."""
    await client.set(prefix + "queue", "mine now")


async def trim_queue(client: Redis, prefix: str, _: str) -> None:
    """Take every entry out of the queue."""
    await client.xtrim(prefix + "queue", maxlen=0, approximate=False)


async def retype_order(client: Redis, prefix: str, order_id: str) -> None:
    """Put a set in the place of an order that waits."""
    key = f"{prefix}o:".encode() + bytes.fromhex(order_id[2:])
    await client.delete(key)
    await client.sadd(key, "mine now")


async def spoil_totals(client: Redis, prefix: str, _: str) -> None:
    """Write words where figures belong."""
    await client.hset(prefix + "totals", "busy", "very")


async def add_entries(client: Redis, prefix: str, _: str) -> None:
    """Put entries into the queue that name no order."""
    for fields in ({"hello": "world"}, {"o": "", "t": "\r\n"}):
        await client.xadd(prefix + "queue", fields)  # type: ignore[arg-type] # the library's


HARMS: dict[Harm, str] = {
    retype_queue: "key queue",
    trim_queue: "queue entries missing",
    retype_order: "order",
    spoil_totals: "figure totals busy",
    add_entries: "entry",
}

OF_A_LOST_ORDER = {
    *("orders_explain_units", "limits_count_right", "totals_match_orders"),
    *("live_orders_are_queued_once", "reservations_end"),
}
"""What does not hold without the order that somebody has overwritten: it cannot be known what it was."""


@pytest.fixture
async def shards() -> AsyncIterator[tuple[str, Shards]]:
    """Yield the address of a cluster of three primaries, and its shards."""
    with Cluster("valkey", replicas=0) as running:
        async with connect(running.url, name="auditor", timeout_seconds=5) as client:
            shards = Shards(client, ledger_scripts(), count=SHARDS)
            shards.numbers = NUMBERS
            yield running.url, shards


async def ordered(client: httpx.AsyncClient, product: str, user: str) -> httpx.Response:
    """Order one unit; the ledger decides, whatever a process remembers."""
    body = {"product_id": product, "user_id": user, "quantity": 1}
    return await client.post("/orders", json=body, headers={"Idempotency-Key": f"{product}-{user}"})


async def settled(shards: Shards) -> LedgerDump | None:
    """Return the books once every order has its end."""
    try:
        dump = await dump_ledger(shards)
    except STORE_ERRORS:
        return None
    return None if any(order.status in LIVE for order in dump.orders.values()) else dump


async def test_each_slot_has_its_own_harm_and_harms_no_other(shards: tuple[str, Shards]) -> None:
    """One of the six shards is left alone, and takes every order; the others take orders again by themselves."""
    url, store = shards
    harmed = dict(zip(NUMBERS, HARMS, strict=False))
    products = {shard: product_of(shard) for shard in NUMBERS}
    well, spare = products[NUMBERS[-1]], product_of(NUMBERS[0], "spare")
    async with fleet(url, command="api", env=ENV) as api, http_client(api.url, timeout=15) as client:
        for product in (*products.values(), spare):
            await put_product(api.url, product, stock=STOCK)
        first = [(await ordered(client, product, "before")).json()["order_id"] for product in products.values()]
        for (shard, harm), order_id in zip(harmed.items(), first, strict=False):
            await harm(store.client, keys.prefix(shard), order_id)
            injected()
        await store.client.set(f"{keys.prefix(NUMBERS[0])}product:{spare}", "mine now")
        answers = await asyncio.gather(*(ordered(client, well, f"beside-{n}") for n in range(20)))
        assert {answer.status_code for answer in answers} == {202}
        for product in products.values():
            await wait_until(partial(sold, client, product), MENDED_SECONDS, f"{product} is sold again")
        async with fleet(url, command="worker", env=ENV):
            dump = await wait_until(lambda: settled(store), 30, "every order is settled")
        await wait_until(partial(counted, client, len(dump.damaged)), 10, "it is a metric")
        assert (await ordered(client, spare, "before")).status_code == 404
        await put_product(api.url, spare, stock=STOCK)
        assert await sold(client, spare)
    assert_named(dump, harmed, spare)
    lost = next(shard for shard, harm in harmed.items() if harm is retype_order)
    for shard, product in products.items():
        there = sum(order.product_id == product for order in dump.orders.values())
        assert there == 2 - (shard == lost) + 20 * (product == well)
    audit = flash_sale("audit", env=ENV | {"REDIS_URL": url})
    assert audit.returncode == 1
    assert [what for what in dump.damaged if f"{what}: " not in audit.stdout] == []


async def sold(client: httpx.AsyncClient, product: str) -> bool:
    """Whether one unit can be had."""
    return (await ordered(client, product, "after")).is_success


async def counted(client: httpx.AsyncClient, damaged: int) -> bool:
    """Whether the metric says so many."""
    return f"flash_sale_damaged_entries {damaged}.0\n" in (await client.get("/metrics")).text


def assert_named(dump: LedgerDump, harmed: dict[int, Harm], spare: str) -> None:
    """Assert that each harm is named with its shard, and nothing else; only what an order was cannot be mended."""
    named = {what for harm in HARMS.values() for what in dump.damaged if what.startswith(harm)}
    named.add(f"product {spare} in shard {NUMBERS[0]}")
    assert set(dump.damaged) == named
    for shard, harm in harmed.items():
        found = [what for what in named if what.startswith(HARMS[harm])]
        assert f"in shard {shard}" in {f"in shard {what.rpartition(' ')[2]}" for what in found}, harm.__name__
    broken = {violation.invariant for violation in violations(dump)} - {"nothing_was_set_aside"}
    assert broken == OF_A_LOST_ORDER
    assert dump.missing_shards == {}
