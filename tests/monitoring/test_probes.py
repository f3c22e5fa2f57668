"""`/healthz`, `/readyz` and `/metrics` are one thing, whichever kind of process is asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from service.ledger.write_check import WriteCheck
from service.processes.startup import open_shards
from service.processes.worker_app import create_worker_app
from service.settings import Settings
from telemetry import TelemetrySettings
from telemetry.testing import capture
from tests.support import RedisServer, serve
from tests.support.http import http_client
from tests.support.shop import open_shop


class Processes:
    """An API and a worker's application on one store, with a client of each."""

    def __init__(self, store: RedisServer) -> None:
        self.store = store
        self.stop = asyncio.Event()
        self.clients: list[httpx.AsyncClient] = []

    async def ask(self, path: str) -> list[httpx.Response]:
        """Return what each answers."""
        return [await client.get(path) for client in self.clients]

    def drain(self) -> None:
        """Let both be about to end."""
        self.stop.set()
        self.shop.service.draining = True

    async def open(self, stack: AsyncExitStack) -> None:
        """Serve both until the stack is closed."""
        self.shop = await stack.enter_async_context(open_shop(self.store.url))
        seen = stack.enter_context(capture(TelemetrySettings(service_name="test", worker="order-0")))
        shards = await stack.enter_async_context(open_shards(Settings(), self.store.url, name="order-0"))
        app = create_worker_app(seen.telemetry, WriteCheck(shards, 1), self.stop)
        url = await stack.enter_async_context(serve(app, log_level="critical"))
        worker = await stack.enter_async_context(http_client(url))
        self.clients = [self.shop.client, worker]


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    with RedisServer() as store:
        async with AsyncExitStack() as stack:
            both = Processes(store)
            await both.open(stack)
            yield both


async def test_both_are_alive_and_ready(processes: Processes) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        for answer in await processes.ask(path):
            assert (answer.status_code, answer.json()) == (200, {"status": status})
    for answer in await processes.ask("/metrics"):
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert "# TYPE process_cpu_seconds_total counter" in answer.text
    for answer in await processes.ask("/nope"):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_neither_is_ready_without_the_store(processes: Processes) -> None:
    """Both say so as a problem, and are alive all the same."""
    processes.store.stop()
    for answer in await processes.ask("/readyz"):
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "1"
    assert [answer.status_code for answer in await processes.ask("/healthz")] == [200, 200]


async def test_neither_is_ready_when_it_is_about_to_end(processes: Processes) -> None:
    processes.drain()
    for answer in await processes.ask("/readyz"):
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert answer.headers["content-type"] == "application/problem+json"
