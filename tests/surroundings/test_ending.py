"""SIGTERM ends everything in time, whatever it is that does not answer: payments, the collector, or both."""

import asyncio
import time
from pathlib import Path

import pytest

from service.ending import Ending
from tests.support import eventually
from tests.support.service import ADMIN, Fleet
from tests.telemetry.collector import Collector, Mode

PRODUCT = {"name": "Lamp", "price": 1, "currency": "EUR", "stock": 1000}
PROMISED_SECONDS = 5.0
BUSY_MACHINE = 1.5
"""Those of a machine that runs other tests, too; without the bound it took nine seconds."""


def buy(fleet: Fleet, count: int) -> None:
    """Place orders."""
    with fleet.client() as client:
        client.put("/inventory/lamp", json=PRODUCT, headers=ADMIN).raise_for_status()
        for number in range(count):
            order = {"product_id": "lamp", "user_id": f"u{number}", "quantity": 1}
            assert client.post("/orders", json=order).status_code == 202


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["hang", "refuse"])
def test_slow_payments_and_a_collector_that_has_gone_do_not_add_up(tmp_path: Path, mode: Mode) -> None:
    """The collector answered before, so that it is worth waiting for; every process has something to hand over."""
    with Collector() as collector:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "PAYMENT_LATENCY_SECONDS": "60",
        }
        with Fleet(tmp_path, env=env) as fleet:
            buy(fleet, 50)
            eventually(lambda: collector.spans() and collector.logs(), 20, "the collector takes what it is sent")
            collector.mode = mode
            buy(fleet, 50)
            begun = time.monotonic()
            assert fleet.terminate() == 0
            seconds = time.monotonic() - begun
            assert "role killed" not in fleet.log
    assert seconds < PROMISED_SECONDS + BUSY_MACHINE


async def test_the_telemetry_gets_what_the_work_has_left() -> None:
    """Of four seconds, half a second is for leaving; work that took long leaves one for the telemetry."""
    ending = Ending(4)
    assert (ending.work_seconds, ending.telemetry_seconds) == (2.5, 3.0)
    stop = asyncio.Event()
    async with ending.begins_with(stop):
        await asyncio.sleep(0)
        assert ending.telemetry_seconds == 3.0, "the time does not run before it is told"
        stop.set()
        await asyncio.sleep(0.7)
    assert 2.0 < ending.telemetry_seconds < 2.9
    spent = Ending(0.02)
    async with spent.begins_with(stop):
        await asyncio.sleep(0.1)
    assert 0 < spent.telemetry_seconds <= 0.01, "never nothing"
