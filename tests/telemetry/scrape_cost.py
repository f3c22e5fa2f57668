"""What a scrape costs with 1 000 products, in process and with four API processes.

`python -m tests.telemetry.scrape_cost`
"""

import statistics
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from service.ledger.orders import COUNTED
from service.ledger.products import Product
from service.ledger.snapshot import Snapshot
from service.monitoring.ledger_metrics import observe_ledger
from telemetry import Telemetry, TelemetrySettings
from tests.support.service import ADMIN, Fleet

PRODUCTS = 1_000
SCRAPES = 50
PRODUCT = {"name": "Thing", "price": 100, "currency": "EUR", "stock": 10, "per_user_limit": None}
WINDOW = {"opens_at": "2020-01-01T00:00:00Z", "closes_at": None}
FORMATS = ("text/plain", "application/openmetrics-text")
_FIGURES = ("requeued", "queue_length", "processing", "oldest_age_seconds", "dead_letters", "drain_rate", "throughput")
_MEANS = ("error_rate", "processing_time_avg_ms", "eta_error_seconds")


def new_snapshot() -> Snapshot:
    """Return a ledger with nothing in common with the one before."""
    now = datetime.now(UTC)
    product = Product(
        product_id="",
        name="Thing",
        price=100,
        currency="EUR",
        initial_stock=10,
        restocked=0,
        stock=10,
        held=0,
        sold=0,
        per_user_limit=None,
        opens_at=now,
        closes_at=None,
    )
    products = tuple(replace(product, product_id=f"p{number}") for number in range(PRODUCTS))
    zeros = dict.fromkeys((*_FIGURES, *_MEANS), 0)
    return Snapshot(taken_at=now, orders=dict.fromkeys(COUNTED, 1), products=products, **zeros)  # type: ignore[arg-type]


def measure_in_process() -> None:
    """Write the answer of one process without siblings and print its CPU time, a new snapshot each time."""
    latest = [new_snapshot()]
    telemetry = Telemetry(TelemetrySettings(service_name="shop", worker="api-0"), set_global=False)
    observe_ledger(telemetry, lambda: latest[0], silence=timedelta(seconds=5))
    for accept in FORMATS:
        seconds = []
        for _ in range(SCRAPES):
            latest[0] = new_snapshot()
            begun = time.process_time()
            telemetry.exposition(accept)
            seconds.append(time.process_time() - begun)
        middle, least = statistics.median(seconds) * 1000, min(seconds) * 1000
        print(f"{accept:29} in process: CPU median {middle:.1f} ms, least {least:.1f} ms")  # noqa: T201 - a program


def cpu_seconds(text: str) -> float:
    """Return the sum over all processes."""
    lines = (line for line in text.splitlines() if line.startswith("process_cpu_seconds_total{"))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def measure(client: httpx.Client, accept: str) -> None:
    """Scrape many times and print the figures."""
    before = cpu_seconds(client.get("/metrics").text)
    seconds = []
    for _ in range(SCRAPES):
        begun = time.perf_counter()
        answer = client.get("/metrics", headers={"accept": accept})
        seconds.append(time.perf_counter() - begun)
    used = cpu_seconds(client.get("/metrics").text) - before
    samples = sum(not line.startswith("#") for line in answer.text.splitlines())
    print(  # noqa: T201 - a program
        f"{accept:29} {samples} samples, {len(answer.content) / 1024:.0f} KiB, "
        f"median {statistics.median(seconds) * 1000:.0f} ms, highest {max(seconds) * 1000:.0f} ms, "
        f"CPU of all processes {used / (SCRAPES + 1) * 1000:.0f} ms a scrape"
    )


def main() -> None:
    """Measure both formats in process; then start a fleet, create the products and measure it."""
    measure_in_process()
    with (
        tempfile.TemporaryDirectory() as directory,
        Fleet(Path(directory), api=4, workers=1) as fleet,
        httpx.Client(base_url=fleet.url, headers=ADMIN, timeout=30) as client,
    ):
        for number in range(PRODUCTS):
            client.put(f"/inventory/p{number}", json=PRODUCT | WINDOW).raise_for_status()
        while f'product_id="p{PRODUCTS - 1}"' not in client.get("/metrics").text:
            pass
        for accept in FORMATS:
            measure(client, accept)


if __name__ == "__main__":
    main()
