"""The windows of one API process: what `/monitoring/*` says, what it costs the store, how it does without the store."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.metrics import REASONS
from tests.conftest import MakeServer
from tests.support import RedisServer, wait_until
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop, problem


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without order workers, with ten lamps on sale."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop


async def figures(shop: Shop) -> dict[str, Any]:
    """Return the live figures, with everything in them that the process has counted."""
    await shop.service.rejections.flush()
    await shop.service.windows.flush()
    await shop.service.poller.fresh()
    body: dict[str, Any] = (await shop.client.get("/monitoring/metrics")).json()
    return body


def served(body: dict[str, Any]) -> dict[tuple[str, str, int], int]:
    """Return the requests by method, route and status."""
    return {(row["method"], row["route"], row["status"]): row["count"] for row in body["requests"]}


async def test_the_live_figures_tell_of_requests_refusals_and_failures(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.order()
    await shop.order(quantity=11)
    await shop.order(quantity=0)
    await shop.client.get("/nope")

    async def broken(**_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(shop.service.placer, "place", broken)
        crashed = await shop.order()
    body = await figures(shop)
    assert served(body) == {
        ("GET", "unmatched", 404): 1,
        ("POST", "/orders", 202): 1,
        ("POST", "/orders", 409): 1,
        ("POST", "/orders", 422): 1,
        ("POST", "/orders", 500): 1,
        ("PUT", "/inventory/{product_id}", 201): 1,
    }
    for row in body["requests"]:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] < 15_000
        assert row["count"] / 80 <= row["rate"] <= row["count"] / 55 + 0.001  # over the last minute or a little more
    assert set(body["rejections"]) == set(REASONS)
    assert {reason: n for reason, n in body["rejections"].items() if n} == {
        "sold_out": 1,
        "invalid": 1,
        "internal_error": 1,
    }
    (error,) = body["errors"]
    assert (error["method"], error["route"], error["status"]) == ("POST", "/orders", 500)
    assert (error["code"], error["exception"]) == ("internal_error", "ZeroDivisionError")
    assert (error["trace_id"], error["worker"]) == (crashed.json()["trace_id"], "api-0")
    assert (await shop.client.get("/monitoring/errors")).json() == {"errors": [error]}
    assert (await figures(shop))["seq"] > body["seq"]


async def test_a_benchmark_is_over_all_requests_of_the_window(shop: Shop) -> None:
    for _ in range(20):
        await shop.order(user_id="eve")
    await figures(shop)
    for window in (60, 3600):
        answer = (await shop.client.get("/monitoring/benchmark", params={"window_seconds": window})).json()
        assert 21 <= answer["requests"] <= 25  # the product was put, and the figures themselves were asked for
        assert window - 11 <= answer["window_seconds"] <= window + 11
        assert answer["throughput"] == pytest.approx(answer["requests"] / answer["window_seconds"], abs=0.01)
        assert (answer["errors"], answer["error_rate"]) == (0, 0)
        assert 0 < answer["p50_ms"] <= answer["p95_ms"] <= answer["p99_ms"]
        assert 0 < answer["mean_ms"] <= 1.05 * answer["p99_ms"]
        assert answer["peak_throughput"] >= answer["throughput"] / 2
        assert answer["peak_concurrency"] > 0
    problem(await shop.client.get("/monitoring/benchmark?window_seconds=3601"), 422, "invalid")
    problem(await shop.client.get("/monitoring/benchmark?window_seconds=0"), 422, "invalid")


async def test_clearing_is_for_the_admin_and_leaves_the_ledger_alone(shop: Shop) -> None:
    await shop.order()
    await shop.order(quantity=11)
    problem(await shop.client.post("/monitoring/metrics/clear"), 401, "unauthorized")
    before = await figures(shop)
    answer = await shop.client.post("/monitoring/metrics/clear", headers=ADMIN)
    assert (answer.status_code, answer.json()) == (200, {"status": "cleared"})
    after = await figures(shop)
    assert set(served(after)) <= {("GET", "/monitoring/metrics", 200), ("POST", "/monitoring/metrics/clear", 200)}
    assert after["errors"] == []
    for part in ("orders", "rejections", "products", "queue"):
        if part != "queue":
            assert after[part] == before[part], part
    assert after["queue"]["length"] == 1


async def test_no_telemetry_goes_to_the_store_with_a_request(shop: Shop, valkey_server: RedisServer) -> None:
    """So many orders with a key cost so many scripts as there were round trips; so many other requests cost nothing."""

    def commands() -> dict[str, int]:
        with valkey_server.sync_client() as client:
            stats = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}

    async def told(what: str, requests: int, path: str) -> tuple[dict[str, int], float]:
        before, began = commands(), time.monotonic()
        for n in range(requests):
            answer = await (shop.order(f"key-{n}", user_id=f"u{n}") if what == "order" else shop.client.get(path))
            assert answer.status_code in (202, 404, 409)
        now = commands()
        return {name: calls - before.get(name, 0) for name, calls in now.items()}, time.monotonic() - began

    # A second of this process: the lease, a reading, the windows, refusals, the expiry of orders and of attempts twice,
    # and each other second a look for orders out of the queue and one for what is old in the feed.
    a_second = 9
    spent, seconds = await told("nothing", 200, "/nope")
    assert spent["evalsha"] <= a_second * (seconds + 2)
    assert spent.get("set", 0) + spent.get("hincrby", 0) <= 60 * (seconds + 2)
    spent, seconds = await told("order", 200, "")
    assert 200 <= spent["evalsha"] <= 200 + a_second * (seconds + 2)
    for command in ("publish", "zadd", "rpush", "lpush", "incr", "pfadd", "hset"):
        accepted = 10
        assert spent.get(command, 0) <= 6 * accepted + 10 * (seconds + 2), command


async def test_every_window_key_has_an_end(shop: Shop, valkey_server: RedisServer) -> None:
    await shop.order(quantity=0)
    await figures(shop)
    with valkey_server.sync_client() as client:
        names = client.keys("{fs:00}:live:*") + client.keys("{fs:00}:refusals:*")
        kinds = {name.split(":")[2] if "live" not in name else name.split(":")[3] for name in names}
        assert {"window", "now", "lot"} <= kinds
        assert all(0 < client.ttl(name) <= 3600 for name in names)


async def test_without_the_store_nothing_stale_is_told(make_server: MakeServer) -> None:
    """The ledger's series are gone within 3 s, the age grows, a scrape is quick; then all is right again."""
    server = make_server("valkey", aof=True)
    async with open_shop(server.url) as shop:
        await shop.put()
        await shop.order()
        await wait_until(lambda: shop.seen.value("flash_sale_queue_length") == 1, 10, "the ledger is exported")
        server.kill9()
        gone = time.monotonic()
        await wait_until(lambda: shop.seen.value("flash_sale_queue_length") is None, 3, "the ledger's series are gone")
        for name in ("flash_sale_orders_total", "flash_sale_rejections_total", "flash_sale_inventory_levels"):
            assert shop.seen.value(name) is None, name
        assert (shop.seen.value("flash_sale_snapshot_age_seconds") or 0) > 0
        began = time.monotonic()
        assert (await shop.client.get("/metrics")).status_code == 200
        assert time.monotonic() - began < 1
        problem(await shop.order(), 503, "store_unavailable")
        for path in ("/monitoring/metrics", "/monitoring/errors", "/monitoring/benchmark"):
            problem(await shop.client.get(path), 503, "store_unavailable")
        await wait_until(lambda: (shop.seen.value("flash_sale_snapshot_age_seconds") or 0) > 2, 10, "the age grows")
        assert (shop.seen.value("flash_sale_snapshot_age_seconds") or 0) < time.monotonic() - gone + 5
        server.restart()
        await wait_until(lambda: shop.seen.value("flash_sale_queue_length") == 1, 15, "the ledger is exported again")
        assert await shop.rejections(reason="store_unavailable") == 1
        body = await figures(shop)
        assert body["snapshot_age_seconds"] < 3
        assert served(body)["POST", "/orders", 202] == 1
        assert served(body)["POST", "/orders", 503] == 1
        assert {(error["status"], error["code"]) for error in body["errors"]} == {(503, "store_unavailable")}
        assert len(body["errors"]) == 4


async def test_a_store_that_hangs_is_as_good_as_down(make_server: MakeServer) -> None:
    server = make_server("valkey")
    async with open_shop(server.url, store_timeout_seconds=0.5) as shop:
        await shop.put()
        await wait_until(lambda: shop.seen.value("flash_sale_queue_length") == 0, 10, "the ledger is exported")
        server.pause()
        try:
            await wait_until(lambda: shop.seen.value("flash_sale_queue_length") is None, 3, "the series are gone")
            problem(await shop.client.get("/monitoring/metrics"), 503, "store_unavailable")
            problem(await shop.order(), 503, "store_unavailable")
        finally:
            server.resume()
        await wait_until(lambda: shop.seen.value("flash_sale_queue_length") is not None, 10, "it goes on")
        assert await shop.rejections(reason="store_unavailable") == 1
        assert served(await figures(shop))["POST", "/orders", 503] == 1
