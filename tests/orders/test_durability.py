"""`DURABILITY=replicated` on real sentinels and clusters: no order that was acknowledged is lost by a failover."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from redis.exceptions import RedisError

from service.background import background_tasks
from service.ledger.audit import dump_ledger, violations
from service.ledger.refunds import Refund, refund_order
from service.ledger.write_check import WriteCheck
from service.store import connect, keys, outage_reason
from service.store.preflight import ASYNCHRONOUS, StoreRefused, check
from service.store.replication import REMEMBERED_SECONDS, ReplicaCount
from tests.conftest import MakeServer
from tests.orders.sale import LONG, Sale
from tests.orders.shoppers import Shoppers
from tests.support.clusters import Cluster, Sentinels, command, in_step, is_primary
from tests.support.waiting import wait_until

BACK_WITHIN_SECONDS = 30
TIMEOUT = 0.8


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    """Yield a primary with two replicas, watched."""
    with Sentinels("redis") as running:
        yield running


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Yield three primaries with a replica each."""
    with Cluster("valkey") as running:
        yield running


@asynccontextmanager
async def replicated_sale(url: str, *, count: int = 1) -> AsyncIterator[Sale]:
    """Open a sale under `DURABILITY=replicated`, with the process's own look at the store."""
    async with connect(url, name="test", timeout_seconds=TIMEOUT) as client:
        sale = await Sale.open(client, count=count)
        sale.shards.replicas_wait_seconds = TIMEOUT * 0.6
        writes = WriteCheck(sale.shards, TIMEOUT)
        await sale.product("phone", stock=1_000_000)
        async with background_tasks(writes.run):
            await wait_until(lambda: len(sale.shards.replicas) == count, 10, "the replicas are counted")
            yield sale
        await writes.aclose()


async def assert_nothing_lost(sale: Sale, accepted: list[str]) -> None:
    """Every order that a shopper was told of is there, and the books are right."""
    dump = await dump_ledger(sale.shards)
    assert sorted(set(accepted) - dump.orders.keys()) == []
    assert violations(dump) == []


async def test_planned_and_unplanned_failovers_by_sentinels(sentinels: Sentinels) -> None:
    """`SENTINEL FAILOVER`, then a crash: what the old primary took alone was acknowledged to nobody."""
    async with replicated_sale(sentinels.url) as sale:
        shoppers = Shoppers(sale, "phone")
        await shoppers.more(200)
        for planned in (True, False):
            old = sentinels.primary()
            if planned:
                sentinels.ask("SENTINEL FAILOVER", sentinels.service)
            else:
                old.kill9()
            await wait_until(lambda: sentinels.primary() is not old, 30, "another is the primary")  # noqa: B023 - at once
            if not planned:
                old.start()
            await shoppers.more(200, BACK_WITHIN_SECONDS)
        await shoppers.stop()
        await assert_nothing_lost(sale, shoppers.accepted)


async def test_failovers_of_a_cluster(cluster: Cluster) -> None:
    """`CLUSTER FAILOVER`, then a crash of a shard's primary in mid-sale."""
    async with replicated_sale(cluster.url, count=3) as sale:
        shard = sale.shards.of("phone")
        shoppers = Shoppers(sale, "phone")
        await shoppers.more(200)
        for planned in (True, False):
            old = cluster.owner(keys.prefix(shard))
            (replica,) = cluster.replicas_of(old)
            await wait_until(partial(in_step, replica), 30, "the replica is in step")
            if planned:
                command(replica, "CLUSTER", "FAILOVER")
            else:
                old.kill9()
            await wait_until(partial(is_primary, replica), 30, "it is the primary")
            if not planned:
                old.start()
            await shoppers.more(200, BACK_WITHIN_SECONDS)
        await shoppers.stop()
        await assert_nothing_lost(sale, shoppers.accepted)


async def test_without_replicas_nothing_is_acknowledged(make_server: MakeServer) -> None:
    """Refused at start; an outage when they go later, and the order that was placed is there all the same."""
    server = make_server("redis")
    async with connect(server.url, name="test") as client:
        with pytest.raises(StoreRefused, match="DURABILITY=replicated: the store has no replica"):
            await check(client, "replicated")
        sale = await Sale.open(client)
        await sale.product()
        sale.shards.replicas_wait_seconds = 0.1
        request = sale.request(key="k")
        for _ in range(2):
            with pytest.raises(RedisError) as failed:
                await sale.place(request)
            assert outage_reason(failed.value) == "no_replicas"
        replica = make_server("redis", repl_diskless_sync_delay="0")
        command(replica, "REPLICAOF", "127.0.0.1", server.port)
        await wait_until(lambda: in_step(replica), 15, "the replica is in step")
        sale.shards.replicas_wait_seconds = 5.0
        (placed,) = await sale.place(request)
        assert placed.outcome == "accepted"
        assert len((await sale.dump()).orders) == 1
        assert ASYNCHRONOUS in (await check(client)).warnings
        assert ASYNCHRONOUS not in (await check(client, "replicated")).warnings


async def test_what_a_merchant_is_told_waits_for_the_replicas_too(make_server: MakeServer) -> None:
    """A refund, a stock, a dead letter's fate, a cancellation: none is told while no replica has it."""
    async with connect(make_server("redis").url, name="test") as client:
        sale = await Sale.open(client)
        await sale.product()
        bought, waits = await sale.buy(), await sale.buy()
        await sale.take(limit=1)
        await sale.settle(bought)
        await sale.ledger.cancel(waits.order_id)
        letters = [(await sale.dead_letter(user_id=user)).order_id for user in ("ann", "bob")]
        pending = await sale.buy()
        sale.shards.replicas_wait_seconds = 0.1
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "refund": lambda: refund_order(sale.shards, Refund(order_id=bought.order_id)),
            "stock": lambda: sale.catalogue.restock("phone", 1),
            "requeue": lambda: sale.dead_letters.requeue(letters[:1], LONG),
            "drop": lambda: sale.dead_letters.drop(letters[1:]),
            "cancel": lambda: sale.ledger.cancel(pending.order_id),
        }
        for name, act in acts.items():
            with pytest.raises(RedisError) as failed:
                await act()
            assert outage_reason(failed.value) == "no_replicas", name
        sale.shards.replicas_wait_seconds = 0
        await sale.dump()


def test_a_replica_that_has_left_is_asked_for_a_while() -> None:
    """The most of the last seconds, and never none."""
    count = ReplicaCount()
    assert count.wanted == 1
    for now, replicas, wanted in (
        (0, 2, 2),
        (1, 1, 2),
        (REMEMBERED_SECONDS - 1, 1, 2),
        (REMEMBERED_SECONDS + 0.5, 1, 1),
    ):
        count.note(now, replicas)
        assert count.wanted == wanted
    count.note(100, 0)
    assert count.wanted == 1
