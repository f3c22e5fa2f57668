"""One sale on three primaries with a replica each, in which a primary fails over, a shard moves, and another dies."""

from random import Random

import pytest

from service.store import keys
from tests.faults.cluster_faults import Fault, crash, dead_shard, nearest, planned_failover, reshard
from tests.faults.kit import Load
from tests.faults.witnessed import on_every_shard, witnessed
from tests.support.clusters import Cluster
from tests.support.stores import Kind

SHARDS = 6
NUMBERS = keys.spread(SHARDS)
CUTS = [keys.slot(NUMBERS[2]) - 3, keys.slot(NUMBERS[4]) - 3]
"""Two shards for each primary, one of them behind its first slots: `redis-cli` moves a slot in some 20 ms."""
ENV = {"DURABILITY": "replicated"}


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_a_failover_a_reshard_and_a_dead_shard_in_one_sale(kind: Kind, seed: int) -> None:
    """In any order, of any shard: the truth is exact afterwards, the audit clean, every acknowledged order there."""
    chance = Random(f"{seed}/one-sale")
    faults: list[Fault] = [chance.choice([planned_failover, crash]), reshard, dead_shard]
    chance.shuffle(faults)
    with Cluster(kind, cuts=CUTS, cluster_require_full_coverage="no") as cluster:
        async with witnessed(cluster.url, on_every_shard(SHARDS), shards=SHARDS, env=ENV) as sale:

            async def happen(load: Load) -> None:
                for fault in faults:
                    shard = nearest(cluster, NUMBERS) if fault is reshard else chance.choice(NUMBERS)
                    print(f"{kind}: {fault.__name__} of shard {shard}")  # noqa: T201 - with the seed, if it fails
                    await fault(cluster, shard, load)

            told = await sale.through(happen, seed)
    print(f"{kind}: {told.report.accepted} accepted, asleep {told.asleep}, true after {told.true_after:.1f} s")  # noqa: T201 - with -s
