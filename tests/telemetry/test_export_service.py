"""The real service ends under load: with the collector up nothing is lost, without one nobody waits."""

import asyncio
import json
import secrets
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.ledger.ledger import ledger_scripts
from service.ledger.orders import Status
from service.ledger.snapshot import take_snapshot
from service.store import Shards, connect
from tests.support import RedisServer, eventually, free_port
from tests.support.http import http_client
from tests.support.processes import alive
from tests.support.service import ADMIN, Fleet
from tests.telemetry.collector import Collector

LAMP = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": 100_000, "per_user_limit": None}
LOAD_SECONDS = 3.0
PAUSE_SECONDS = 0.04
SHOPPERS = 8


@pytest.fixture
def store() -> Iterator[RedisServer]:
    """Yield a store that has nothing to complain about."""
    with RedisServer("valkey", aof=True) as server:
        yield server


async def shop(url: str, answered: dict[str, int]) -> None:
    """Order under trace ids of our own until nobody answers any more; note what was answered."""
    async with http_client(url, timeout=10) as client:
        while True:
            trace = secrets.token_hex(16)
            headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-00"}
            body = {"product_id": "lamp", "user_id": trace, "quantity": 1}
            try:
                answered[trace] = (await client.post("/orders", json=body, headers=headers)).status_code
            except httpx.TransportError:
                return
            await asyncio.sleep(PAUSE_SECONDS)  # the load is steady; nothing is waited for


async def confirmed(url: str) -> int:
    """Read from the ledger how many orders were confirmed."""
    async with connect(url, name="test") as client:
        return (await take_snapshot(Shards(client, ledger_scripts()))).orders[Status.CONFIRMED]


def attribute(span: Span, key: str) -> str:
    """Return a text attribute of a span."""
    return next((found.value.string_value for found in span.attributes if found.key == key), "")


async def sell_and_end(store: RedisServer, collector: Collector) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Let shoppers order, end the fleet in the middle of it; return the answers and the log lines."""
    answered: dict[str, int] = {}
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_BSP_MAX_QUEUE_SIZE": "20000",
        "PAYMENT_LATENCY_SECONDS": "0.01",
        "PAYMENT_ERROR_RATE": "0.2",  # each error is a log line of the worker
    }
    with Fleet(store.url, env=env) as fleet:
        httpx.put(f"{fleet.url}/inventory/lamp", json=LAMP, headers=ADMIN, timeout=10).raise_for_status()
        shoppers = asyncio.gather(*(shop(fleet.url, answered) for _ in range(SHOPPERS)))
        await asyncio.wait([shoppers], timeout=LOAD_SECONDS)
        assert await asyncio.to_thread(fleet.terminate) == 0
        await shoppers
        return answered, [json.loads(line) for line in fleet.log.splitlines() if line.startswith("{")]


def ended(pid: int) -> bool:
    """Whether a process has ended."""
    return not alive(pid)


async def test_sigterm_under_load_loses_nothing(store: RedisServer) -> None:
    """Each answer has its spans, each confirmed order has its spans, each log line was received."""
    with Collector() as collector:
        answered, lines = await sell_and_end(store, collector)
        spans, received = collector.spans(), collector.logs()
    traces: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for span in spans:
        traces[span.trace_id.hex()][span.name] += 1
    accepted = {trace for trace, status in answered.items() if status == httpx.codes.ACCEPTED}
    assert len(accepted) > 20
    assert {trace for trace in answered if traces[trace]["POST /orders"] != 1} == set()
    processed = [span for span in spans if span.name == "process flash_sale.orders"]
    settled = [span for span in processed if attribute(span, "flash_sale.order.status") == "confirmed"]
    assert len(settled) == await confirmed(store.url)
    assert {span.trace_id.hex() for span in settled} <= accepted | (traces.keys() - answered.keys())

    written = Counter((line["logger"], line["event"], line.get("trace_id", "")) for line in lines)
    ours = Counter({line: count for line, count in written.items() if line[0] != "flash_sale.supervisor"})
    assert Counter((name, record.body.string_value, record.trace_id.hex()) for name, record in received) == ours
    retries = [line for line in ours if line[1] == "an order is tried again later"]
    assert retries
    assert {trace for _, _, trace in retries} <= traces.keys()


@pytest.mark.parametrize("mode", ["hang", "refuse", "absent"])
def test_without_a_collector_each_process_ends_in_time(store: RedisServer, mode: Any) -> None:
    """SIGTERM ends the API and the worker in under 5 s; requests are answered, and drops are counted."""
    with Collector("hang" if mode == "absent" else mode) as collector:
        endpoint = f"http://127.0.0.1:{free_port()}" if mode == "absent" else collector.endpoint
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_MAX_QUEUE_SIZE": "16",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with Fleet(store.url, env=env) as fleet, fleet.client() as client:
            client.put("/inventory/lamp", json=LAMP, headers=ADMIN).raise_for_status()
            for number in range(30):
                order = {"product_id": "lamp", "user_id": f"u{number}", "quantity": 1}
                assert client.post("/orders", json=order).status_code == httpx.codes.ACCEPTED
            text = client.get("/metrics").text
            dropped = [line for line in text.splitlines() if 'error_type="queue_full"' in line and "span" in line]
            assert sum(float(line.rsplit(" ", 1)[1]) for line in dropped) > 0
            for role in ("api-0", "order-0"):
                begun = time.monotonic()
                pid = fleet.kill(role, signal.SIGTERM)
                eventually(partial(ended, pid), 5, f"{role} has ended")
                assert time.monotonic() - begun < 5
