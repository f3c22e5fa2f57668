"""What a scrape costs with four API processes and 1 000 products: `python -m tests.telemetry.scrape_cost`."""

import statistics
import tempfile
import time
from pathlib import Path

import httpx

from tests.support.service import ADMIN, Fleet

PRODUCTS = 1_000
SCRAPES = 50
PRODUCT = {"name": "Thing", "price": 100, "currency": "EUR", "stock": 10, "per_user_limit": None}
WINDOW = {"opens_at": "2020-01-01T00:00:00Z", "closes_at": None}


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
    """Start a fleet, create the products, send some requests, and measure both formats."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Fleet(Path(directory), api=4, workers=1) as fleet,
        httpx.Client(base_url=fleet.url, headers=ADMIN, timeout=30) as client,
    ):
        for number in range(PRODUCTS):
            client.put(f"/inventory/p{number}", json=PRODUCT | WINDOW).raise_for_status()
        while f'product_id="p{PRODUCTS - 1}"' not in client.get("/metrics").text:
            pass
        for accept in ("text/plain", "application/openmetrics-text"):
            measure(client, accept)


if __name__ == "__main__":
    main()
