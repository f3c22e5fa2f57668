"""Every step on a real cluster-enabled server with four shards: each script stays within one slot."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from service.ledger.audit import dump_ledger
from service.ledger.catalogue import Change
from service.ledger.dead_letters import Requeued
from service.ledger.ledger import ledger_scripts
from service.ledger.orders import Outcome, Placement, Status
from service.ledger.tickets import INVALID, SaleTickets
from service.orders.placement import OrderPlacer
from service.orders.sold_out import SoldOutCache
from service.orders.wait_time import WaitEstimator
from service.store import SchemaMismatchError, Shards, connect, keys
from tests.conftest import MakeServer
from tests.orders.sale import AT_ONCE, LONG, Sale
from tests.support import eventually, free_port

SHARDS = 4
NAMES = [f"product-{number}" for number in range(8)]


@pytest.fixture(params=["valkey", "redis"])
async def cluster(make_server: MakeServer, request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """Yield a client of a cluster of one node that has all slots, by way of a `redis+cluster://` address."""
    # The port of the cluster bus is otherwise 10 000 above the port, which may be more than there are.
    server = make_server(request.param, cluster_enabled="yes", cluster_port=str(free_port()))
    with server.sync_client() as node:
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: node.cluster("info")["cluster_state"] == "ok", 10, "the cluster is whole")
    async with connect(server.url.replace("redis://", "redis+cluster://"), name="test") as client:
        yield client


async def test_every_step_works_in_every_shard(cluster: Redis) -> None:
    """An order of each kind in each shard, from the catalogue to the dead letters; the books are in order."""
    sale = await Sale.open(cluster, count=SHARDS)
    assert {sale.shards.of(name) for name in NAMES} == set(range(SHARDS))
    for name in NAMES:
        assert (await sale.product(name, stock=20))[0] is Change.CREATED
    for name in NAMES:
        await whole_life(sale, name)
    dump = await sale.dump()
    assert len(dump.orders) == 5 * len(NAMES)
    assert [(p.product_id, p.stock, p.held, p.sold) for p in await sale.catalogue.products()] == [
        (name, 22, 1, 1) for name in NAMES
    ]
    in_parts = await dump_ledger(sale.shards, limit=1)
    assert (in_parts.orders, in_parts.buyers) == (dump.orders, dump.buyers)
    listed = await sale.orders_of("ann", 100)
    assert {order.order_id for order in listed} == set(dump.orders)
    never_decode: dict[str, Any] = {NEVER_DECODE: True}
    found = [key async for key in cluster.scan_iter(**never_decode)]
    assert {key[:8].decode() for key in found} == {keys.prefix(shard) for shard in range(SHARDS)}


async def test_a_sale_by_ticket_lies_in_the_shard_of_its_product(cluster: Redis) -> None:
    """The key that signs, too: a ticket is one of its product, in another shard as in the same."""
    sale = await Sale.open(cluster, count=SHARDS)
    tickets = SaleTickets(sale.shards, LONG)
    shown = {}
    for name in NAMES:
        await sale.product(name)
        await sale.catalogue.patch(name, admission="ticket")
        given = (await tickets.give(name, "ann")).ticket
        assert given is not None
        shown[name] = given.text
    for name in NAMES:
        wrong = {await tickets.checked(text, name, "ann") for other, text in shown.items() if other != name}
        assert (await tickets.checked(shown[name], name, "ann"), wrong) == ("0 0", {INVALID})
        (placed,) = await sale.place(replace(sale.request(name), ticket="0 0"))
        assert placed.outcome is Outcome.ACCEPTED
    await sale.dump()


async def whole_life(sale: Sale, name: str) -> None:
    """Do every step in the shard of a product, and leave one order pending and one sold."""
    shard = sale.shards.of(name)
    sold, late, cancelled = [await sale.buy(name) for _ in range(3)]
    assert (await sale.ledger.cancel(cancelled.order_id, "ann"))[0] == "cancelled"
    expired = await sale.under(reservation=AT_ONCE).buy(name)
    assert expired.order_id in await sale.ledger.expire(shard)
    await sale.ledger.reclaim(shard, "w1", LONG, 10)
    await sale.deliver("w1", shard=shard)
    assert await sale.ledger.leave(shard, "w1") >= 2
    entries = await sale.ledger.reclaim(shard, "w2", LONG, 10)
    await sale.begin(*entries)
    assert (await sale.settle(sold)).result == "settled"
    assert await sale.defer(late) == "deferred"
    assert await sale.ledger.promote(shard) == 1
    await sale.take("w2", shard=shard)
    assert await sale.under(attempts=1).defer(late) == "dead"
    assert late.order_id in [letter.order_id for letter in await sale.dead_letters.list()]
    assert (await sale.dead_letters.requeue([late.order_id], LONG))[late.order_id] is Requeued.REQUEUED
    assert not (await sale.dead_letters.drop([late.order_id]))[late.order_id]
    assert (await sale.catalogue.restock(name, 4))[0] is Change.CHANGED
    assert (await sale.catalogue.patch(name, limit=9))[0] is Change.CHANGED
    assert (await sale.ledger.cancel((await sale.buy(name)).order_id))[0] == "cancelled"
    assert await sale.status(sold) is Status.CONFIRMED
    assert await sale.status(late) is Status.PENDING


async def test_a_key_is_one_order_whatever_the_shard(cluster: Redis) -> None:
    """The key is claimed in its own shard, so it cannot be used for two products that live apart."""
    sale = await Sale.open(cluster, count=SHARDS)
    for name in NAMES:
        await sale.product(name)
    placer = OrderPlacer(
        sale.ledger, SoldOutCache(), WaitEstimator(), SaleTickets(sale.shards, sale.ledger.policy.ticket_window)
    )

    async def place(product: str, key: str) -> Placement:
        return await placer.place(product_id=product, user_id="ann", quantity=1, idempotency_key=key)

    for number, name in enumerate(NAMES):
        other = NAMES[(number + 1) % len(NAMES)]
        first, again, conflict = [await place(product, f"key-{number}") for product in (name, name, other)]
        assert [p.outcome for p in (first, again, conflict)] == [
            Outcome.ACCEPTED,
            Outcome.REPLAYED,
            Outcome.IDEMPOTENCY_CONFLICT,
        ]
        assert first.order == again.order
    assert len((await sale.dump()).orders) == len(NAMES)


async def test_a_claim_is_for_one_request_and_ends(cluster: Redis) -> None:
    """In each shard: the same request may claim again, another may not, until the time is over."""
    sale = await Sale.open(cluster, count=SHARDS)
    for shard in sale.shards:
        claims = [("d1", "f1"), ("d1", "f2"), ("d2", "f2"), ("d1", "f1")]
        assert await sale.ledger.claim(shard, claims) == [True, False, True, True]
        assert 0 < await cluster.pttl(f"{keys.prefix(shard)}claim:d1") <= timedelta(days=1) / timedelta(milliseconds=1)


async def test_a_store_with_orders_in_another_form_is_refused(store: Redis) -> None:
    """Before anything is written; a fresh store takes the form of who comes first."""
    await store.hset("{fs:00}:settings", "shards", "1")
    with pytest.raises(SchemaMismatchError, match="this store holds orders in form 1, and this version reads 4"):
        await Sale.open(store)
    await store.flushdb()
    await asyncio.gather(*(Sale.open(store) for _ in range(5)))


async def test_the_number_of_shards_stays_what_it_was(cluster: Redis) -> None:
    """A product's shard follows from it, so another number is refused before anything is written."""
    await Sale.open(cluster, count=SHARDS)
    await Sale.open(cluster, count=SHARDS)
    with pytest.raises(SchemaMismatchError, match="STORE_SHARDS is 2, but this store was first used with 4"):
        await Shards(cluster, ledger_scripts(), count=2).prepare()
