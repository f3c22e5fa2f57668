"""A store that reads and takes no writes, or answers nothing, is said to be so at once; then all goes on by itself."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httpx
import pytest

from service.store import connect
from service.store.preflight import StoreRefused, check
from tests.conftest import MakeServer
from tests.faults.kit import PRODUCT, Auditor, buy, metric, put_product, sale
from tests.support import RedisServer, wait_until
from tests.support.counts import BACK, injected, longest, mended
from tests.support.http import http_client
from tests.support.stores import Kind

SAID_WITHIN_SECONDS = 2.0
BACK_WITHIN_SECONDS = 5.0
SLACK_SECONDS = 0.5
NOBODY = ("127.0.0.1", 1)


@dataclass(frozen=True)
class Refusal:
    """A way in which a store takes no orders, what it is called, and how it ends."""

    reason: str
    begin: Callable[[RedisServer], Any]
    end: Callable[[RedisServer], Any]


def setting(name: str, wrong: str, right: str) -> tuple[Callable[[RedisServer], Any], Callable[[RedisServer], Any]]:
    """Set a directive to a value under which nothing is written, and back."""

    def begin(store: RedisServer) -> None:
        injected(lasts=True)
        store.sync_client().config_set(name, wrong)

    return begin, lambda store: store.sync_client().config_set(name, right)


def replicate(store: RedisServer) -> None:
    """Make the store a replica of nobody who is there."""
    injected(lasts=True)
    store.sync_client().replicaof(*NOBODY)


def replicate_without_stale_reads(store: RedisServer) -> None:
    """Make it one that does not even read."""
    store.sync_client().config_set("replica-serve-stale-data", "no")
    replicate(store)


def promote(store: RedisServer) -> None:
    """Make it a primary again."""
    store.sync_client().replicaof("NO", "ONE")


def fail_to_save(store: RedisServer) -> None:
    """Let the store fail to write a snapshot, as on a full disk: the file's place is taken by a directory."""
    injected(lasts=True)
    (store.directory / "dump.rdb").mkdir()
    (store.directory / "dump.rdb" / "x").touch()
    client = store.sync_client()
    client.config_set("save", "3600 1")
    client.bgsave()


def save_again(store: RedisServer) -> None:
    """Let it write one."""
    shutil.rmtree(store.directory / "dump.rdb")
    store.sync_client().bgsave()


REFUSALS = [
    Refusal("out_of_memory", *setting("maxmemory", "1", "0")),
    Refusal("no_replicas", *setting("min-replicas-to-write", "1", "0")),
    Refusal("read_only", replicate, promote),
    Refusal("master_down", replicate_without_stale_reads, promote),
    Refusal("cannot_persist", fail_to_save, save_again),
    Refusal("timeout", RedisServer.pause, RedisServer.resume),
]


async def until(client: httpx.AsyncClient, status: int) -> float:
    """Ask `/readyz` like a busy load balancer until it answers so, and return how long that took."""
    began = perf_counter()

    async def says() -> bool:
        return (await client.get("/readyz")).status_code == status

    await wait_until(says, 15, f"/readyz is {status}")
    return perf_counter() - began


@pytest.mark.parametrize(("kind", "refusals"), [("valkey", REFUSALS[::2]), ("redis", REFUSALS[1::2])])
async def test_a_store_that_takes_no_writes(make_server: MakeServer, kind: Kind, refusals: Sequence[Refusal]) -> None:
    """Probes, health, orders and metrics agree, whoever asks how often; recovery takes no restart."""
    store = make_server(kind)
    async with Auditor.of(store.url) as auditor, sale(store.url) as (api, worker):
        await put_product(api.url, stock=1000)
        await buy(api.url, 5)
        for refusal in refusals:
            print("refusal:", refusal.reason)  # noqa: T201 - pytest shows it with a failure
            await refuse_and_recover(store, auditor, refusal, api.url, worker.url)


async def refuse_and_recover(store: RedisServer, auditor: Auditor, refusal: Refusal, api: str, worker: str) -> None:
    """Let the store refuse, look at all that must say so, let it go on, and look at that."""
    async with (
        http_client(api, timeout=15) as client,
        http_client(worker, timeout=15) as beside,
    ):
        await auditor.at_rest()
        await asyncio.to_thread(refusal.begin, store)
        told = await asyncio.gather(until(client, 503), until(beside, 503))
        assert max(told) < SAID_WITHIN_SECONDS + SLACK_SECONDS, told
        health = (await client.get("/monitoring/health")).json()
        assert health["status"] == "degraded"
        assert (health["store"], health["store_reason"]) == ("unavailable", refusal.reason)
        assert (await order(client)).json()["code"] == "store_unavailable"

        async def is_old() -> bool:
            assert (await client.get("/readyz")).status_code == 503
            return min((await metric(api, "flash_sale_snapshot_age_seconds", "worker")).values()) > 5

        await wait_until(is_old, 15, "the snapshot grows old though probes go on")
        assert await metric(api, "flash_sale_orders_total", "status") == {}, "nothing stale is exported"
        await asyncio.to_thread(refusal.end, store)
        mended()
        began = perf_counter()

        async def ordered() -> bool:
            return (await order(client)).status_code == 202

        await wait_until(ordered, 15, "an order is taken")
        books = await auditor.at_rest()
        assert perf_counter() - began < BACK_WITHIN_SECONDS
        assert await until(client, 200) < 2
        assert {str(one.status) for one in books.orders.values()} == {"confirmed"}


async def order(client: httpx.AsyncClient) -> httpx.Response:
    """Order a unit."""
    return await client.post("/orders", json={"product_id": PRODUCT, "user_id": "x", "quantity": 1})


async def test_an_eviction_policy_that_is_switched_on_while_it_runs(make_server: MakeServer) -> None:
    """Accepted orders might go without a word: the service is not ready until the store keeps every key again."""
    store = make_server("valkey")
    async with sale(store.url) as (api, _), http_client(api.url, timeout=15) as client:
        injected(lasts=True)
        store.sync_client().config_set("maxmemory-policy", "allkeys-lru")
        await until(client, 503)
        health = (await client.get("/monitoring/health")).json()
        assert (health["store"], health["store_reason"]) == ("unavailable", "may_evict")
        store.sync_client().config_set("maxmemory-policy", "noeviction")
        longest(BACK, await until(client, 200))


@pytest.mark.parametrize(("fsync", "aof"), [("everysec", True), ("no", True), ("always", False)])
async def test_a_store_that_does_not_keep_the_durability(make_server: MakeServer, fsync: str, *, aof: bool) -> None:
    """`DURABILITY=local` starts against no store that would forget an answered write in a crash, and says why."""
    store = make_server("valkey", aof=aof)
    store.sync_client().config_set("appendfsync", fsync)
    async with connect(store.url, name="test") as client:
        with pytest.raises(StoreRefused, match="DURABILITY=local: the store does not sync each write"):
            await check(client, "local")
        await check(client, "fast")
        if aof:
            store.sync_client().config_set("appendfsync", "always")
            await check(client, "local")
