"""One limit says when a worker counts as dead: for its orders, for the metrics and for the health page."""

import json
from typing import Any

import pytest

from service.ledger.ledger import Ledger
from service.store import keys
from tests.support import RedisServer, eventually, wait_until
from tests.support.service import Fleet
from tests.support.shop import Shop, open_shop


async def heartbeat(shop: Shop, age_seconds: float) -> None:
    """Let a worker have sent its last heartbeat so long ago."""
    seconds, micros = await shop.service.shards.client.time()
    at = seconds * 1000 + micros // 1000 - age_seconds * 1000
    await shop.service.shards.client.zadd(keys.prefix(0) + "workers", {"worker-0.a": at})
    report = json.dumps({"consumer": "worker-0.a", "progress_age_seconds": 0, "in_hand": 3})
    await shop.service.shards.client.hset(keys.prefix(0) + "live:now", "worker-0.a", f"{at:.0f} {report}")
    await shop.service.windows.flush()  # which forgets the report of a worker that is dead


async def exported(shop: Shop) -> float | None:
    """Return what `/metrics` says of live workers."""
    await shop.service.poller.fresh()
    await wait_until(shop.service.poller.exported, 10, "the lease is ours")
    return shop.seen.value("flash_sale_workers")


@pytest.mark.parametrize(
    ("silence", "age", "alive"),
    [(60, 13, True), (60, 55, True), (60, 65, False), (3600, 1000, True), (5, 1, True), (5, 7, False), (0.5, 4, False)],
)
async def test_all_agree_on_who_is_alive(store_server: RedisServer, silence: float, age: float, *, alive: bool) -> None:
    """A heartbeat of some age, under some limit: metric, health page, windows and take-over say the same."""
    async with open_shop(store_server.url, worker_silence_seconds=silence) as shop:
        await heartbeat(shop, age)
        assert await exported(shop) == (1 if alive else 0)
        health: dict[str, Any] = (await shop.client.get("/monitoring/health")).json()
        assert health["status"] == ("ok" if alive else "degraded")
        assert [worker["in_hand"] for worker in health["workers"]] == [3 if alive else None]
        ledger: Ledger = shop.service.ledger
        await ledger.reclaim(0, "worker-1.b", shop.service.settings.worker_silence, 10)
        kept = await shop.service.shards.client.zscore(keys.prefix(0) + "workers", "worker-0.a")
        assert (kept is not None) == alive


def test_a_worker_with_a_long_silence_is_alive_between_its_heartbeats(valkey_server: RedisServer) -> None:
    """At 60 s it sends one every 12 s; older than 6 s, it is no news that it is gone."""
    env = {"WORKER_SILENCE_SECONDS": "60", "PAYMENT_LATENCY_SECONDS": "0"}
    with Fleet(valkey_server.url, workers=1, env=env) as fleet, fleet.client() as client:

        def health() -> dict[str, Any]:
            return dict(client.get("/monitoring/health").json())

        def between() -> bool:
            return any(worker["heartbeat_age_seconds"] > 6 for worker in health()["workers"])

        eventually(between, 40, "its last heartbeat is some time ago")
        text = client.get("/metrics").text
        assert [line for line in text.splitlines() if line.startswith("flash_sale_workers")] == [
            "flash_sale_workers 1.0"
        ]
        assert health()["status"] == "ok"
