"""The API of this service in the event loop of the test: a real uvicorn, a real store, its spans and metrics."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from service.api import websocket
from service.api.app import create_app
from service.api.context import ApiContext
from service.faults import Faults
from service.processes.server import serving
from service.processes.startup import open_shards
from service.settings import Settings
from telemetry import TelemetrySettings
from telemetry.settings import Interceptor
from telemetry.testing import Capture, capture
from tests.support.http import TRUST_NOBODY
from tests.support.service import ADMIN, ADMIN_TOKEN
from tests.support.waiting import wait_until

PRODUCT: dict[str, Any] = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": 10, "per_user_limit": None}


@dataclass(frozen=True, slots=True)
class Shop:
    """An API that serves, and a client of it."""

    client: httpx.AsyncClient
    url: str
    app: FastAPI
    service: ApiContext
    seen: Capture

    async def put(self, product_id: str = "lamp", **changes: Any) -> dict[str, Any]:
        """Put a product on sale, or change it whole."""
        answer = await self.client.put(f"/inventory/{product_id}", json={**PRODUCT, **changes}, headers=ADMIN)
        assert answer.status_code in (200, 201), answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def order(self, key: str | None = None, **changes: Any) -> httpx.Response:
        """Order one lamp for ada."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        body = {"product_id": "lamp", "user_id": "ada", "quantity": 1, **changes}
        return await self.client.post("/orders", json=body, headers=headers)

    async def rejections(self, **labels: str) -> float:
        """Return what `/metrics` says of refused orders, once this process has reported what it refused."""
        await self.service.rejections.flush()
        await self.service.poller.fresh()
        await wait_until(self.service.poller.exported, 10, "the lease is ours")
        return self.seen.value("flash_sale_rejections_total", **labels) or 0

    async def product(self, product_id: str = "lamp") -> dict[str, Any]:
        """Read a product."""
        body: dict[str, Any] = (await self.client.get(f"/inventory/{product_id}")).json()
        return body


@asynccontextmanager
async def open_shop(
    store_url: str, *, interceptor: Interceptor = "contrib", faults: Faults | None = None, **settings: Any
) -> AsyncIterator[Shop]:
    """Serve the API on a store, without order workers; its telemetry is strict and records everything.

    Args:
        store_url: The value of `REDIS_URL`.
        interceptor: What makes the spans of requests.
        faults: The faults that may be on; None for none.
        settings: Fields of `Settings`.
    """
    chosen = Settings.model_validate({"admin_token": ADMIN_TOKEN, **settings})
    recorded = TelemetrySettings(
        service_name="test", worker="api-0", sampler="parentbased_always_on", interceptor=interceptor
    )
    with capture(recorded) as seen, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with open_shards(
            chosen, store_url, name="api-0", tracer=seen.telemetry.tracer("service.store")
        ) as shards:
            stop = asyncio.Event()
            context = ApiContext(chosen, seen.telemetry, shards, faults=faults, stop=stop)
            app = create_app(context)
            async with (
                context.ending.begins_with(stop),
                serving(app, chosen, seen.telemetry, listener, stop, websocket.PATHS),
                httpx.AsyncClient(base_url=url, timeout=15, verify=TRUST_NOBODY) as client,
            ):
                await client.get("/healthz")
                try:
                    yield Shop(client, url, app, context, seen)
                finally:
                    stop.set()


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return the body of a refusal, having checked that it is the problem that it should be."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:flash-sale:problem:{code}"), body
    assert body["title"]
    assert body["detail"]
    assert re.fullmatch("[0-9a-f]{32}", body["trace_id"])
    return body
