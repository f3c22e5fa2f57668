"""Failovers in mid-sale under `DURABILITY=replicated`, planned and by `kill -9`: no acknowledged order is lost.

`make failovers SEED=1` goes on for ten of each store, and writes into docs/reliability.md what came of them.
"""

import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from service.store import keys
from tests.faults.cluster_faults import crash, planned_failover, sentinel_failover
from tests.faults.kit import Load
from tests.faults.witnessed import Told, Witnessed, on_every_shard, witnessed
from tests.support.clusters import Cluster
from tests.support.figures import as_table, write_counts
from tests.support.sentinels import Sentinels
from tests.support.stores import Kind

FAILOVERS = int(os.environ.get("FAILOVERS") or 2)
ORDERS = 500 if FAILOVERS > 2 else 50
"""Accepted after each failover, while all of it goes on."""
SHARDS = 3
ENV = {"DURABILITY": "replicated"}
HEAD = (
    "store",
    "planned, crashes",
    "acknowledged",
    "lost",
    "refused",
    "no order for, planned",
    "after a crash",
    "true after",
    "seed",
)
PLANNED, CRASH = "planned", "crash"

Strike = Callable[[str, Load], Awaitable[None]]


class Sold(NamedTuple):
    """What came of all failovers of one store."""

    store: str
    seed: int
    told: dict[str, list[Told]]

    def row(self) -> tuple[object, ...]:
        """Return the store's row of the table: lost are none, or the test has failed."""
        everything = [told for several in self.told.values() for told in several]
        reports = [told.report for told in everything]
        refused = sum(report.refusals.total() for report in reports)
        asleep = [_range(told.longest for told in self.told[how]) for how in (PLANNED, CRASH)]
        counts = f"{len(self.told[PLANNED])}, {len(self.told[CRASH])}"
        accepted = sum(report.accepted for report in reports)
        return (
            self.store,
            counts,
            accepted,
            0,
            refused,
            *asleep,
            _range(t.true_after for t in everything),
            str(self.seed),
        )


def _range(seconds: Iterator[float]) -> str:
    found = sorted(seconds)
    return f"{found[0]:.1f} to {found[-1]:.1f} s" if found else ""


@asynccontextmanager
async def cluster_sale(kind: Kind, chance: Random) -> AsyncIterator[tuple[Witnessed, Strike]]:
    """Yield a sale on a cluster, and what makes a shard of it fail over."""
    numbers = keys.spread(SHARDS)
    with Cluster(kind, cluster_require_full_coverage="no") as cluster:

        async def strike(how: str, load: Load) -> None:
            await (planned_failover if how == PLANNED else crash)(cluster, chance.choice(numbers), load)

        async with witnessed(cluster.url, on_every_shard(SHARDS), shards=SHARDS, env=ENV) as sale:
            yield sale, strike


@asynccontextmanager
async def sentinel_sale(kind: Kind, _: Random) -> AsyncIterator[tuple[Witnessed, Strike]]:
    """Yield a sale behind sentinels, and what makes them choose another primary."""
    with Sentinels(kind) as sentinels:

        async def strike(how: str, _: Load) -> None:
            await sentinel_failover(sentinels, planned=how == PLANNED)

        async with witnessed(sentinels.url, ["phone"], env=ENV) as sale:
            yield sale, strike


STORES = {
    "Cluster, Valkey, 3 primaries and 3 replicas": partial(cluster_sale, "valkey"),
    "Cluster, Redis, 3 primaries and 3 replicas": partial(cluster_sale, "redis"),
    "Sentinel, Valkey, 2 replicas": partial(sentinel_sale, "valkey"),
    "Sentinel, Redis, 2 replicas": partial(sentinel_sale, "redis"),
}


SOLD_ON = STORES if FAILOVERS > 2 else list(STORES)[::3]
"""A short run is of one of each kind; `test_one_sale.py` has the others' clusters."""


@pytest.fixture(scope="module")
def table() -> Iterator[list[Sold]]:
    """Yield what each store adds its figures to; when all did, they are written into `FAILOVER_COUNTS`."""
    sold: list[Sold] = []
    yield sold
    made = as_table(HEAD, [one.row() for one in sold])
    print(made)  # noqa: T201 - what `make failovers` is run for
    if len(sold) == len(STORES) and (document := os.environ.get("FAILOVER_COUNTS")):
        write_counts(Path(document), "failovers", made)


@pytest.mark.timeout(60 * FAILOVERS + 120)
@pytest.mark.parametrize("store", SOLD_ON)
async def test_no_acknowledged_order_is_lost(store: str, seed: int, table: list[Sold]) -> None:
    """After each failover the truth is exact, the audit clean, and every order there that was acknowledged so far."""
    chance = Random(f"{seed}/{store}")
    hows = [PLANNED, CRASH] * (FAILOVERS // 2)
    chance.shuffle(hows)
    told: defaultdict[str, list[Told]] = defaultdict(list)
    async with STORES[store](chance) as (sale, strike):
        for number, how in enumerate(hows):

            async def happen(load: Load, how: str = how) -> None:
                await strike(how, load)
                await load.more(ORDERS, 60)

            print(f"{store}: {how}")  # noqa: T201 - with the seed, if it fails
            told[how].append(await sale.through(happen, seed + number))
        dump = await sale.auditor.dump()
    acknowledged = {order_id for several in told.values() for one in several for order_id in one.report.order_ids}
    assert sorted(acknowledged - dump.orders.keys()) == []
    table.append(Sold(store, seed, told))
