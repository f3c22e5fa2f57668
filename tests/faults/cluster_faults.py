"""What happens to a cluster in a sale: each is over when it returns, and the cluster is whole again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from redis.exceptions import ResponseError

from service.store import keys
from tests.faults.kit import Load
from tests.support.clusters import Cluster, command, in_step, is_primary, is_whole, known_to, node_id
from tests.support.sentinels import Sentinels
from tests.support.stores import RedisServer
from tests.support.waiting import wait_until

BACK_WITHIN_SECONDS = 30
MEANWHILE = 50
"""Orders that are accepted elsewhere while a shard is away."""

Fault = Callable[[Cluster, int, Load], Awaitable[None]]


async def healed(cluster: Cluster, primary: RedisServer) -> None:
    """Wait until every node sees every slot served, and the replicas of a primary are in step."""
    for node in cluster.nodes:
        await wait_until(partial(is_whole, node), BACK_WITHIN_SECONDS, "the cluster is whole")
    for replica in cluster.replicas_of(primary):
        await wait_until(partial(in_step, replica), BACK_WITHIN_SECONDS, "the replica is in step")


async def planned_failover(cluster: Cluster, shard: int, load: Load) -> None:
    """`CLUSTER FAILOVER`: the primary hands over."""
    old = cluster.owner(keys.prefix(shard))
    (replica,) = cluster.replicas_of(old)
    await wait_until(partial(in_step, replica), BACK_WITHIN_SECONDS, "the replica is in step")
    command(replica, "CLUSTER", "FAILOVER")
    await wait_until(partial(is_primary, replica), BACK_WITHIN_SECONDS, "it is the primary")
    await wait_until(lambda: not is_primary(old), BACK_WITHIN_SECONDS, "the old one is none")
    await healed(cluster, replica)
    await load.more(MEANWHILE)


async def crash(cluster: Cluster, shard: int, load: Load) -> None:
    """`kill -9` of the primary; it comes back as a replica."""
    old = cluster.owner(keys.prefix(shard))
    (replica,) = cluster.replicas_of(old)
    await wait_until(partial(in_step, replica), BACK_WITHIN_SECONDS, "the replica is in step")
    old.kill9()
    await wait_until(partial(is_primary, replica), BACK_WITHIN_SECONDS, "it is the primary")
    await asyncio.to_thread(old.start)
    await wait_until(lambda: not is_primary(old), BACK_WITHIN_SECONDS, "the old one is none")
    await healed(cluster, replica)
    await load.more(MEANWHILE)


async def dead_shard(cluster: Cluster, shard: int, load: Load) -> None:
    """`kill -9` of a primary and its replica: nobody has its slots until they are started again."""
    primary = cluster.owner(keys.prefix(shard))
    replicas = cluster.replicas_of(primary)
    for node in (*replicas, primary):
        node.kill9()
    await load.more(MEANWHILE)
    for node in (primary, *replicas):
        await asyncio.to_thread(node.start)
    await healed(cluster, primary)
    await load.more(MEANWHILE)


async def reshard(cluster: Cluster, shard: int, load: Load) -> None:
    """`redis-cli --cluster reshard`: the slots up to the shard's go to the next primary."""
    source = cluster.owner(keys.prefix(shard))
    slot = keys.slot(shard)
    target = next(node for node in cluster.alive() if is_primary(node) and node is not source)
    mine = known_to(source)[node_id(source)]["slots"]
    count = str(sum(one <= slot for one in mine))
    words = ["--cluster-from", node_id(source), "--cluster-to", node_id(target), "--cluster-slots", count]
    await asyncio.to_thread(cluster.redis_cli, "reshard", *words, "--cluster-yes")
    assert cluster.owner(keys.prefix(shard)) is target
    await healed(cluster, target)
    await load.more(MEANWHILE)


def nearest(cluster: Cluster, shards: tuple[int, ...]) -> int:
    """Return the shard that `reshard` moves soonest: few slots of its node are before its own."""

    def before(shard: int) -> int:
        owner = cluster.owner(keys.prefix(shard))
        return sum(slot < keys.slot(shard) for slot in known_to(owner)[node_id(owner)]["slots"])

    return min(shards, key=before)


async def sentinel_failover(sentinels: Sentinels, *, planned: bool) -> None:
    """`SENTINEL FAILOVER`, or `kill -9` of the primary, which then comes back as a replica."""
    old = sentinels.primary()
    if planned:
        await wait_until(partial(_begun, sentinels), BACK_WITHIN_SECONDS, "the sentinels begin")
    else:
        old.kill9()
    await wait_until(lambda: sentinels.primary() is not old, BACK_WITHIN_SECONDS, "another is the primary")
    if not planned:
        await asyncio.to_thread(old.start)
    for server in sentinels.servers:
        if server is not sentinels.primary():
            await wait_until(partial(in_step, server), BACK_WITHIN_SECONDS, "the replica is in step")


def _begun(sentinels: Sentinels) -> bool:
    """Ask for a failover; refused while the last one is not over, or no replica is known to be good."""
    with suppress(ResponseError):
        return bool(sentinels.ask("SENTINEL FAILOVER", sentinels.service))
    return False
