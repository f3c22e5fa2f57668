"""What the service says of itself: `/metrics`, `/monitoring/*`, health, its OpenAPI document."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import RedisServer, eventually, wait_until
from tests.support.service import Fleet
from tests.support.shop import Shop, open_shop

SEVEN = (
    *("flash_sale_orders_total", "flash_sale_queue_length", "flash_sale_throughput", "flash_sale_error_rate"),
    *("flash_sale_active_connections", "flash_sale_processing_time_avg", "flash_sale_inventory_levels"),
)


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without order workers, with ten lamps on sale."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop


def series(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Return the series of one name: their label values in order of the labels' names, and their value."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


async def test_metrics_say_what_the_ledger_says(shop: Shop) -> None:
    """Each of the seven is there, and every status from the start."""
    await shop.order(quantity=3)
    cancelled = await shop.order()
    await shop.client.post(f"{cancelled.headers['location']}/cancel")
    await shop.service.poller.fresh()
    await wait_until(lambda: shop.seen.value("flash_sale_orders_total") is not None, 10, "the lease is ours")
    answer = await shop.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in SEVEN:
        assert f"\n{name}" in answer.text, name
        assert f"# HELP {name}" in answer.text
        assert f"# TYPE {name}" in answer.text
    assert series(answer.text, "flash_sale_orders_total") == {
        ("pending",): 2,
        ("confirmed",): 0,
        ("failed",): 0,
        ("expired",): 0,
        ("cancelled",): 1,
        ("refunded",): 0,
    }
    assert series(answer.text, "flash_sale_inventory_levels") == {("lamp",): 7}
    assert series(answer.text, "flash_sale_inventory_held") == {("lamp",): 3}
    assert series(answer.text, "flash_sale_drift") == {("lamp",): 0}
    assert series(answer.text, "flash_sale_queue_length") == {(): 1}


async def test_requests_are_counted_by_route_method_and_status(shop: Shop) -> None:
    """Under the template of the route; what has no route has no label of its own; scrapes and probes do not count."""
    await shop.order()
    await shop.order(product_id="dodo")
    for path in ("/nope", "/nope/2", "/healthz", "/readyz", "/metrics"):
        await shop.client.get(path)
    name = "http_server_request_duration_seconds_count"
    counted = {
        (labels["http_request_method"], labels.get("http_route", ""), labels["http_response_status_code"]): value
        for (metric, has), value in shop.seen.metrics().items()
        if metric == name
        for labels in [dict(has)]
    }
    assert counted["POST", "/orders", "202"] == 1
    assert counted["POST", "/orders", "404"] == 1
    assert counted["PUT", "/inventory/{product_id}", "201"] == 1
    routes = {route for _, route, _ in counted}
    assert routes == {"/orders", "/inventory/{product_id}", ""}
    assert counted["GET", "", "404"] == 2


async def test_rejections_are_counted_by_code(shop: Shop) -> None:
    """From 0 on, so that the first one is a rise."""
    assert await shop.rejections(reason="sold_out") == 0
    await shop.order(quantity=11)
    await shop.order(quantity=0)
    assert await shop.rejections(reason="sold_out") == 1
    assert await shop.rejections(reason="invalid") == 1
    assert await shop.rejections() == 2


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/openmetrics-text; version=1.0.0", "text/plain;version=0.0.4"]
)
async def test_metrics_are_in_a_format_that_prometheus_reads(shop: Shop, accept: str) -> None:
    """Whatever is asked for, the type says what the body is."""
    answer = await shop.client.get("/metrics", headers={"Accept": accept})
    kind = answer.headers["content-type"].partition(" charset")[0].strip("; ")
    assert answer.status_code == 200
    assert kind in ("text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n") == kind.startswith("application/openmetrics-text")


async def test_the_live_figures_are_those_of_the_ledger(shop: Shop) -> None:
    """At most a second old."""
    await shop.order(quantity=3)
    await shop.service.poller.fresh()
    body = (await shop.client.get("/monitoring/metrics")).json()
    assert body["type"] == "snapshot"
    assert body["orders"] == dict.fromkeys(("confirmed", "failed", "expired", "cancelled", "refunded"), 0) | {
        "pending": 1
    }
    assert body["queue"]["length"] == 1
    (product,) = body["products"]
    assert datetime.fromisoformat(product.pop("opens_at")) <= datetime.now(UTC)
    units = {"stock": 7, "held": 3, "sold": 0, "initial_stock": 10}
    tickets = {"by_ticket": False, "tickets_given": 0, "tickets_admitted": None}
    assert product == {"product_id": "lamp", "name": "Lamp", **units, "closes_at": None, "state": "open"} | tickets
    assert 0 <= body["snapshot_age_seconds"] < 5


async def test_without_a_worker_health_is_degraded(shop: Shop) -> None:
    """The store is fine; nobody works off the queue."""
    body = (await shop.client.get("/monitoring/health")).json()
    assert (body["status"], body["store"], body["workers"]) == ("degraded", "ok", [])


async def test_health_and_readiness(shop: Shop) -> None:
    """Alive, ready, and not ready when about to end."""
    assert (await shop.client.get("/healthz")).json() == {"status": "ok"}
    assert (await shop.client.get("/readyz")).json() == {"status": "ready"}
    shop.service.draining = True
    answer = await shop.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert answer.headers["retry-after"]


def test_a_fleet_sells_and_all_its_books_agree(valkey_server: RedisServer) -> None:
    """Through real processes: an order is confirmed, and its units, the queue and both kinds of metrics know it."""
    with Fleet(valkey_server.url, workers=1) as fleet, fleet.client() as client:
        placed = client.post("/orders", json={"product_id": "sticker-pack", "user_id": "ada", "quantity": 2})
        assert placed.status_code == 202, placed.text

        def settled() -> Mapping[str, Any] | None:
            order: dict[str, Any] = client.get(placed.headers["location"]).json()
            return order if order["status"] == "confirmed" else None

        order = eventually(settled, 15, "the order is confirmed") or {}
        assert order["payment_id"]
        assert order["settled_at"] >= order["accepted_at"]
        assert client.post(f"{placed.headers['location']}/cancel").json()["code"] == "not_cancellable"
        product = client.get("/inventory/sticker-pack").json()
        assert (product["held"], product["sold"]) == (0, 2)
        eventually(lambda: 'flash_sale_orders_total{status="confirmed"} 1.0' in client.get("/metrics").text, 10)
        live = client.get("/monitoring/metrics").json()
        assert live["orders"]["confirmed"] == 1
        assert live["active_connections"] >= 1
        health = client.get("/monitoring/health").json()
        assert health["status"] == "ok"
        assert [worker["consumer"].startswith("order-0") for worker in health["workers"]] == [True]
        assert fleet.terminate() == 0
