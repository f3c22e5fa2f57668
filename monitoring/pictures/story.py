"""A sale of four minutes: early birds, a rush that is quicker than the payments, sold out, stragglers."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
from websockets.asyncio.client import connect

from service.crowd import CrowdPlan, CrowdReport, run_crowd

STOCK = {"desk-lamp": 2100, "record-player": 1100, "camera": 1500, "gift-card": 4400}
WANTED = {"desk-lamp": 3.0, "record-player": 2.2, "camera": 1.8, "gift-card": 2.4}
EARLY_SECONDS = 40
WATCHERS = 5
CROWDS = ((8, EARLY_SECONDS, 0.0), (120, 35, 0.01), (85, 60, 0.02), (45, 60, 0.02), (25, 40, 0.0))
"""Orders per second, for how many seconds, and the share of buyers who change their mind."""
SLOW_PAYMENTS = {
    "worker": {
        "ORDER_WORKERS": "2",
        "ORDER_CONCURRENCY": "12",
        "PAYMENT_LATENCY_SECONDS": "0.25",
        "PAYMENT_DECLINE_RATE": "0.02",
    },
    "api-1": {"WORKERS": "2"},
}
"""Settings of the stack's parts with which the rush is quicker than the payments."""


def products(opens_at: datetime) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield what is put on sale."""
    for name, stock in STOCK.items():
        yield (
            name,
            {
                "name": name.replace("-", " ").capitalize(),
                "price": 4900,
                "currency": "EUR",
                "stock": stock,
                "per_user_limit": 4,
                "opens_at": opens_at.isoformat(),
                "closes_at": None,
            },
        )


async def watch(url: str) -> None:
    """Watch the live figures, as the page does, until cancelled."""
    async with connect(f"{url.replace('http', 'ws', 1)}/monitoring") as feed:
        async for _ in feed:
            pass


async def play(url: str, admin_token: str) -> list[CrowdReport]:
    """Play the sale against a service and return what each part of the crowd met."""
    opens_at = datetime.now(UTC) + timedelta(seconds=EARLY_SECONDS)
    headers = {"Authorization": f"Bearer {admin_token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=15) as client:
        for name, product in products(opens_at):
            (await client.put(f"/inventory/{name}", json=product)).raise_for_status()
    reports = []
    watchers = [asyncio.create_task(watch(url)) for _ in range(WATCHERS)]
    for seed, (rate, seconds, cancels) in enumerate(CROWDS, start=1):
        plan = CrowdPlan(
            base_url=url,
            rate=rate,
            duration=timedelta(seconds=seconds),
            users=4000,
            mix=WANTED,
            cancel_share=cancels,
            seed=seed,
            keep_order_ids=False,
        )
        reports.append(await run_crowd(plan))
    await asyncio.sleep(6)  # the last scrape
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    return reports
