"""Slots that move between the nodes of a real cluster: a step runs whole or not at all, and no order gets lost."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.ledger.audit import dump_ledger, violations
from service.ledger.orders import Order, Outcome
from service.store import connect, is_store_down, keys, outage_reason
from tests.orders.sale import LONG, Sale
from tests.orders.shoppers import Shoppers
from tests.support.cli import flash_sale
from tests.support.clusters import Cluster, command, known_to, node_id
from tests.support.stores import RedisServer

SHARDS = 32
PRODUCT = "phone"
ORDERS = 30


@pytest.fixture(scope="module", params=["valkey", "redis"])
def running(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Yield three primaries, which all tests of the module share."""
    with Cluster(request.param, replicas=0) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """Return the cluster, empty."""
    for node in running.primaries:
        command(node, "FLUSHALL")
    return running


async def open_sale(client: Redis, product: str = PRODUCT) -> tuple[Sale, int, list[Order]]:
    """Open a sale with some orders; return it, the shard of its product and the orders."""
    sale = await Sale.open(client, count=SHARDS)
    await sale.product(product, stock=1000, limit=3)
    shard = sale.shards.of(product)
    orders = [await sale.buy(product, f"u{number}") for number in range(ORDERS)]
    begun = await sale.take("w1", limit=ORDERS // 2, shard=shard)
    for one in begun[: ORDERS // 4]:
        assert one.order is not None
        await sale.settle(one.order)
    return sale, shard, orders


def first_to_move(cluster: Cluster) -> str:
    """Return the product that `redis-cli` moves soonest: its slot is near the beginning of a node's slots."""
    first = {node: min(known_to(node)[node_id(node)]["slots"]) for node in cluster.primaries}

    def distance(shard: int) -> int:
        move = Move(cluster, shard)
        return int(move.slot - first[move.source])

    numbers = keys.spread(SHARDS)
    nearest = numbers.index(min(numbers, key=distance))
    return next(name for number in range(10_000) if keys.shard_of(name := f"p{number}", SHARDS) == nearest)


def far_from_the_settings(cluster: Cluster) -> str:
    """Return a product whose shard is on another node than the settings of the store, wherever slots have moved."""
    kept = cluster.owner(keys.settings())
    names = (f"p{number}" for number in range(10_000))
    return next(name for name in names if cluster.owner(keys.prefix(keys.shard_of(name, SHARDS))) is not kept)


class Move:
    """The slot of a shard on its way from its node to another."""

    def __init__(self, cluster: Cluster, shard: int) -> None:
        self.slot = int(command(cluster.primaries[0], "CLUSTER", "KEYSLOT", keys.prefix(shard)))
        self.source = cluster.owner(keys.prefix(shard))
        self.target = next(node for node in cluster.primaries if node is not self.source)

    def open(self) -> None:
        """Open the slot on both sides."""
        command(self.target, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", node_id(self.source))
        command(self.source, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", node_id(self.target))

    def some_keys(self, share: float) -> None:
        """Move a share of the keys."""
        count = int(command(self.source, "CLUSTER", "COUNTKEYSINSLOT", self.slot))
        with self.source.sync_client() as client:
            client.connection_pool.connection_kwargs["decode_responses"] = False
            found: Any = client.execute_command("CLUSTER", "GETKEYSINSLOT", self.slot, int(count * share))
            if found:
                client.execute_command("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *found)

    def close(self) -> None:
        """Move the rest, and say who has the slot."""
        self.some_keys(1)
        for node in (self.target, self.source):
            command(node, "CLUSTER", "SETSLOT", self.slot, "NODE", node_id(self.target))


def all_keys(*nodes: RedisServer) -> set[bytes]:
    """Return the names of all keys of some nodes."""
    found: set[bytes] = set()
    for node in nodes:
        with node.sync_client() as client:
            client.connection_pool.connection_kwargs["decode_responses"] = False
            found |= set(client.keys("*"))
    return found


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
async def test_no_step_runs_in_a_slot_that_moves(cluster: Cluster, share: float) -> None:
    """Whatever part of it is here or there: an outage, nothing is written, and all of it goes on afterwards."""
    async with connect(cluster.url, name="test") as client:
        sale, shard, orders = await open_sale(client)
        move = Move(cluster, shard)
        before = all_keys(*cluster.primaries)
        move.open()
        move.some_keys(share)
        steps = [
            sale.place(sale.request(PRODUCT, "late")),
            sale.ledger.order(orders[0].order_id),
            sale.ledger.cancel(orders[-1].order_id),
            sale.ledger.claim(shard, [("d", "f")]),
            sale.settle(orders[-2]),
            sale.ledger.expire(shard),
            sale.ledger.reclaim(shard, "w2", LONG, 10),
            sale.catalogue.product(PRODUCT),
            sale.catalogue.restock(PRODUCT, 1),
            sale.shards.ensure_group(shard),
            sale.shards.run("dump", shard, 100, "", empty_too=True),
        ]
        found = await asyncio.gather(*steps, return_exceptions=True)
        reasons = [outage_reason(one) if isinstance(one, RedisError) and is_store_down(one) else one for one in found]
        assert reasons == ["slot_moves"] * len(steps)
        assert all_keys(*cluster.primaries) == before
        away = (await dump_ledger(sale.shards)).missing_shards
        assert away == {shard: "slot_moves"}
        elsewhere = next(n for n in range(100) if sale.shards.of(f"p{n}") != shard)
        await sale.product(f"p{elsewhere}")
        assert await sale.try_buy(f"p{elsewhere}") is Outcome.ACCEPTED
        move.close()
        assert await sale.try_buy(PRODUCT, "late") is Outcome.ACCEPTED
        assert {order.order_id for order in orders} <= (await sale.dump()).orders.keys()


async def test_slots_move_under_load(cluster: Cluster) -> None:
    """`redis-cli --cluster reshard` gets through, and each order that was accepted can be read."""
    product = first_to_move(cluster)
    async with connect(cluster.url, name="test") as client:
        sale, shard, _ = await open_sale(client, product)
        await sale.catalogue.restock(product, 100_000)
        move = Move(cluster, shard)
        source, target = move.source, move.target
        up_to = str(sum(slot <= move.slot for slot in known_to(source)[node_id(source)]["slots"]))
        shoppers = Shoppers(sale, product)
        await shoppers.more(300)
        words = ["--cluster-from", node_id(source), "--cluster-to", node_id(target), "--cluster-yes"]
        await asyncio.to_thread(cluster.redis_cli, "reshard", *words, "--cluster-slots", up_to)
        assert cluster.owner(keys.prefix(shard)) is target
        await shoppers.more(100)
        await shoppers.stop()
        dump = await dump_ledger(sale.shards)
        assert violations(dump) == []
        assert sorted(set(shoppers.accepted) - dump.orders.keys()) == []
        for order_id in shoppers.accepted[:: len(shoppers.accepted) // 20]:
            assert await sale.ledger.order(order_id) is not None
    back = ["--cluster-from", node_id(target), "--cluster-to", node_id(source), "--cluster-yes"]
    cluster.redis_cli("reshard", *back, "--cluster-slots", up_to)


async def test_a_shard_that_lost_what_it_held_is_not_taken_for_a_new_one(cluster: Cluster) -> None:
    """Nothing is answered from an empty shard, a process that starts does not fill it, and the audit names it."""
    async with connect(cluster.url, name="test") as client:
        sale, shard, _ = await open_sale(client, far_from_the_settings(cluster))
        command(cluster.owner(keys.prefix(shard)), "FLUSHALL")
        lost = [one for one in sale.shards if not await client.exists(keys.identity(one))]
        assert shard in lost
        assert len(lost) < SHARDS
        for again in (sale, None):
            shards = again.shards if again else (await Sale.open(client, count=SHARDS)).shards
            with pytest.raises(RedisError) as failed:
                await shards.run("products", shard)
            assert outage_reason(failed.value) == "shard_empty"
        told = [f"shard {one} is missing (empty, though it was in use)" for one in lost]
        found = [one for one in violations(await dump_ledger(sale.shards)) if one.invariant == "every_shard_is_there"]
        assert [one.detail.partition(":")[0] for one in found] == told
    env = {"REDIS_URL": cluster.url, "STORE_SHARDS": str(SHARDS)}
    audit = await asyncio.to_thread(flash_sale, "audit", env=env)
    assert (audit.returncode, "BROKEN  every_shard_is_there" in audit.stdout) == (1, True), audit
    assert [one for one in told if one not in audit.stdout] == []
    audit = await asyncio.to_thread(flash_sale, "audit", "--json", env=env)
    report = json.loads(audit.stdout)["invariants"]["every_shard_is_there"]
    assert [one.partition(":")[0] for one in report] == told
