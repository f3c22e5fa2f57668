"""A clock that is set by an hour, either way, makes no negative or absurd figure, and nobody waits for an hour."""

from datetime import timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.ledger.lease import Lease
from service.ledger.ledger import Retry
from service.ledger.snapshot import take_snapshot
from service.store import connect
from tests.conftest import MakeServer
from tests.faults.kit import Auditor, Load, assert_kept, crowd_plan, fleet, put_product
from tests.orders.sale import Sale
from tests.support import wait_until
from tests.support.hardware import Hardware
from tests.support.http import http_client
from tests.support.stores import Kind

HOUR = 3600.0
MAX_SECONDS = 60.0


async def absurd(client: httpx.AsyncClient) -> dict[str, float]:
    """Return the figures that are negative, and the ages, waits, means and sums that are longer than the test."""
    found = numbers("", (await client.get("/monitoring/metrics")).json())
    found |= numbers("", (await client.get("/monitoring/health")).json())
    for family in text_string_to_metric_families((await client.get("/metrics")).text):
        for sample in family.samples:
            if not sample.name.startswith("process_") and not sample.name.endswith(("_bucket", "_count", "_created")):
                found[f"{sample.name} {sample.labels}"] = sample.value
    return {name: value for name, value in found.items() if not sane(name, value)}


def numbers(name: str, value: object) -> dict[str, float]:
    """Return the numbers of a JSON value by their paths."""
    if isinstance(value, dict):
        return {path: n for key, part in value.items() for path, n in numbers(f"{name}.{key}", part).items()}
    if isinstance(value, list):
        return {path: n for key, part in enumerate(value) for path, n in numbers(f"{name}.{key}", part).items()}
    return {name: float(value)} if isinstance(value, int | float) else {}


def sane(name: str, value: float) -> bool:
    """Whether a figure is one that may be."""
    if "eta_error" in name:  # what was promised less what came: may be below zero
        return abs(value) < MAX_SECONDS
    seconds = value / 1000 if "_ms" in name or "processing_time_avg" in name else value
    is_time = any(word in name for word in ("second", "_ms", "processing_time"))
    return value >= 0 and (not is_time or seconds < MAX_SECONDS)


@pytest.mark.parametrize(
    ("whose", "kind"), [("the store's", "valkey"), ("the store's", "redis"), ("the processes'", "valkey")]
)
async def test_a_clock_that_is_set_by_an_hour(
    make_server: MakeServer, hardware: Hardware, seed: int, whose: str, kind: Kind
) -> None:
    """Forward, back to the right time, back by another hour, and forward again, while a crowd buys."""
    of_store, of_service = (hardware.environ, {}) if whose == "the store's" else ({}, hardware.environ)
    store = make_server(kind, aof=True, environ=of_store)
    plan = {"rate": 50, "quantities": {1: 1.0}}
    async with (
        Auditor.of(store.url) as auditor,
        fleet(store.url, env=of_service) as running,
        http_client(running.url, timeout=15) as client,
    ):
        await put_product(running.url, stock=1_000_000)
        async with Load(crowd_plan(running.url, seed, **plan)) as load:
            await load.more(50)
            assert await absurd(client) == {}
            for hours in (1, 0, -1, 0):
                hardware.set_clock(hours * HOUR)
                for _ in range(8):
                    await load.more(10)
                    assert await absurd(client) == {}, f"the clock is {hours} h ahead"
        dump = await auditor.at_rest(15)
        assert_kept(dump, load.report)
        assert {str(order.status) for order in dump.orders.values()} <= {"confirmed", "failed", "expired"}


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_a_clock_that_is_set_back_keeps_nobody_waiting(
    make_server: MakeServer, hardware: Hardware, kind: Kind
) -> None:
    """A dead worker's order, one that is to be tried again, and the lease of a fleet that is gone: not for an hour."""
    store = make_server(kind, environ=hardware.environ)
    async with connect(store.url, name="test") as client:
        sale = await Sale.open(client)
        await sale.product(stock=10)
        held, deferred = await sale.buy(), await sale.buy()
        await sale.begin(*await sale.deliver("dead", limit=2))
        await sale.ledger.defer(0, [Retry(deferred.order_id, timedelta(seconds=1), "declined")])
        await sale.ledger.reclaim(0, "dead", timedelta(seconds=1), 0)
        await Lease(sale.shards, "dead").renew()
        await sale.shards.run("beat", 0, "")
        hardware.set_clock(-HOUR)

        lease = Lease(sale.shards, "alive")
        taken: list[str] = []

        async def all_go_on() -> bool:
            await sale.shards.run("beat", 0, "1")
            await lease.renew()
            await sale.ledger.promote(0)
            entries = await sale.ledger.reclaim(0, "alive", timedelta(seconds=1), 10)
            entries += await sale.ledger.deliver(0, "alive", 10, timedelta(milliseconds=10))
            taken.extend(entry.order_id for entry in entries)
            return lease.held() and len(taken) == 2

        await wait_until(all_go_on, 5, "the lease is taken, both orders are")
        assert sorted(taken) == sorted([held.order_id, deferred.order_id])
        assert (await take_snapshot(sale.shards)).oldest_age_seconds < MAX_SECONDS
