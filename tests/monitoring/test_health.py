"""`/monitoring/health`: every part of the service, and what it is known to do."""

import socket
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest

from service.api.service_health import telemetry_health
from telemetry import Telemetry, TelemetrySettings
from telemetry.settings import OtlpSettings
from tests.support import RedisServer, eventually, free_port, wait_until
from tests.support.service import ADMIN, Fleet
from tests.support.shop import open_shop


async def test_versions_and_an_export_that_is_off(store_server: RedisServer) -> None:
    async with open_shop(store_server.url) as shop:
        body = (await shop.client.get("/monitoring/health")).json()
    with store_server.sync_client() as client:
        info = client.info("server")
    assert body["version"] == version("flash-sale")
    assert body["versions"]["store"] == f"{store_server.kind} {info.get('valkey_version', info['redis_version'])}"
    assert body["versions"]["fastapi"] == version("fastapi")
    assert body["telemetry"] == {"spans": "off", "log_lines": "off"}


async def test_an_export_that_fails_is_told() -> None:
    """Unknown before the first batch, failing while nobody takes it."""
    otlp = OtlpSettings(traces_endpoint=f"http://127.0.0.1:{free_port()}/v1/traces", timeout_seconds=0.5)
    settings = TelemetrySettings(service_name="test", otlp=otlp, sampler="always_on")
    with Telemetry(settings, set_global=False) as telemetry:
        assert telemetry_health(telemetry).spans == "unknown"
        telemetry.tracer("test").start_span("one").end()
        telemetry.tracer_provider.force_flush()  # type: ignore[attr-defined]
        await wait_until(lambda: telemetry_health(telemetry).spans == "failing", 15, "it is told")


@pytest.fixture
def silent_gateway() -> Iterator[str]:
    """Yield the address of a payment gateway that is there and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("payments", ["quick", "hanging"])
def test_a_worker_says_what_it_has_in_hand_and_when_it_last_got_on(
    valkey_server: RedisServer, silent_gateway: str, payments: str
) -> None:
    """One that is idle gets on; one whose payments hang does not, although its heart beats."""
    hanging = {"PAYMENT_GATEWAY_URL": silent_gateway, "PAYMENT_TIMEOUT_SECONDS": "60"}
    env = hanging if payments == "hanging" else {"PAYMENT_LATENCY_SECONDS": "0"}
    with Fleet(valkey_server.url, workers=1, env=env) as fleet, fleet.client() as client:

        def worker() -> dict[str, Any]:
            (found,) = client.get("/monitoring/health").json()["workers"]
            return dict(found)

        eventually(lambda: worker()["progress_age_seconds"] is not None, 20, "it has said so")
        put = {"name": "x", "price": 1, "currency": "EUR", "stock": 9, "per_user_limit": None}
        client.put("/inventory/x", json=put, headers=ADMIN)
        placed = client.post("/orders", json={"product_id": "x", "user_id": "u", "quantity": 1})
        assert placed.status_code == 202
        if payments == "quick":
            eventually(lambda: client.get(placed.headers["location"]).json()["status"] == "confirmed", 20, "settled")
            eventually(lambda: worker()["in_hand"] == 0 and worker()["progress_age_seconds"] < 4, 20, "it is idle")
        else:
            eventually(lambda: worker()["in_hand"] == 1 and worker()["progress_age_seconds"] > 3, 30, "it hangs")
            assert worker()["heartbeat_age_seconds"] < 5


def test_the_version_is_the_same_wherever_a_process_tells_it(valkey_server: RedisServer) -> None:
    """In the OpenAPI document, in the health, and as `service.version` of all telemetry."""
    with Fleet(valkey_server.url) as fleet, fleet.client() as client:
        document = client.get("/openapi.json").json()
        health = client.get("/monitoring/health").json()
        resource = [line for line in client.get("/metrics").text.splitlines() if line.startswith("target_info{")]
    known = version("flash-sale")
    assert (document["info"]["version"], health["version"]) == (known, known)
    assert resource
    assert all(f'service_version="{known}"' in line for line in resource)
