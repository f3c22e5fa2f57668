"""Part `scrape`: `GET /metrics` of four API processes with 1 000 products, while a sale goes on gently.

The scrapes come at random moments, 0.1 to 0.4 s apart, so that an answer kept for a moment by the service helps as
little as it would with a real scraper. The processes share all cores.
"""

import http.client
import random
import threading
import time

from benchmarks import load, machine
from benchmarks.bench import Bench, Row
from benchmarks.program import Program, answers, free_port, python
from benchmarks.shop import put_products
from benchmarks.subjects import STOCK

PART = "scrape"
PROCESSES, SEED = 4, 20261122
FORMATS = {"text": "text/plain", "openmetrics": "application/openmetrics-text"}


def run(bench: Bench) -> list[Row]:
    """Measure both formats in turn."""
    store, port = bench.store, free_port()
    products = bench.scale.products[-1]
    store.flush()
    put_products(store, products, STOCK)
    env = {"REDIS_URL": store.url, "HOST": "127.0.0.1", "PORT": str(port), "WORKERS": str(PROCESSES)}
    env["OTEL_EXPORTER_OTLP_ENDPOINT"] = bench.receiver
    cores = machine.server_cores() | machine.other_cores()
    with Program(
        python("-P", "-m", "service", "api"),
        cores=cores,
        env=env,
        ready=lambda: answers(f"http://127.0.0.1:{port}/readyz"),
    ) as fleet:
        _wait_for_all(port, products)
        rows = []
        for case, rate in (("idle", 0.0), ("100 orders/s", 100.0)):
            rows += _scrape_all(bench, fleet, port, rate, {"case": case, "products": products})
    return rows


def _wait_for_all(port: int, products: int) -> None:
    end = time.monotonic() + 30
    while f'product_id="p{products - 1}"' not in _scrape(port, "text/plain")[1]:
        if time.monotonic() > end:
            raise TimeoutError("the products are not in /metrics")
        time.sleep(0.2)


def _scrape_all(bench: Bench, fleet: Program, port: int, rate: float, labels: Row) -> list[Row]:
    """Scrape in turn in a thread of its own, while the load (if any) runs in this one."""
    moments = random.Random(SEED)
    rows: list[Row] = []

    def scrape() -> None:
        for number in range(bench.scale.scrapes):
            time.sleep(moments.uniform(0.1, 0.4))
            for name, accept in FORMATS.items() if number % 2 else reversed(FORMATS.items()):
                seconds, text = _scrape(port, accept)
                rows.append({"part": PART, **labels, "format": name, "ms": seconds * 1000, "bytes": len(text)})

    thread = threading.Thread(target=scrape)
    cpu = fleet.cpu_seconds()
    thread.start()
    if rate:
        while thread.is_alive():
            load.drive(port, load.orders(bench.scale.products[-1]), load.Shape(connections=16, seconds=1.0, rate=rate))
    thread.join()
    rows.append(
        {"part": PART, **labels, "format": "both", "fleet_cpu_ms": (fleet.cpu_seconds() - cpu) / len(rows) * 1000}
    )
    return rows


def _scrape(port: int, accept: str) -> tuple[float, str]:
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept})
        text = connection.getresponse().read()
        return time.perf_counter() - begun, text.decode()
    finally:
        connection.close()
