"""The naive baseline: the same sale as a competent engineer writes it in an afternoon, and no telemetry.

FastAPI, a pydantic model in and out, one EVALSHA an order through redis-py's asyncio client with hiredis; one script
takes the stock, writes the order and queues it. No idempotency, windows, limits, totals or expiry: it does less than
our service. `BASELINE_GC=1` tunes the garbage collector as our service does; `BASELINE_PROMETHEUS=1` adds
prometheus-fastapi-instrumentator as its README says; OpenTelemetry's automatic instrumentation is added from outside,
by `opentelemetry-instrument`.
"""

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field
from redis.asyncio import Redis


class OrderRequest(BaseModel):
    """An order."""

    product_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")
    user_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@|+=-]{0,127}$")
    quantity: int = Field(ge=1, le=1000)


class OrderAccepted(BaseModel):
    """An order that was accepted."""

    order_id: str
    status: str
    product_id: str
    user_id: str
    quantity: int
    unit_price: int
    currency: str
    accepted_at: datetime


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    script = Path(__file__).with_name("baseline.lua").read_text()
    async with Redis.from_url(os.environ["REDIS_URL"], decode_responses=True) as redis:
        app.state.redis = redis
        app.state.place = await redis.script_load(script)
        yield


async def place_order(order: OrderRequest, request: Request, response: Response) -> OrderAccepted:
    """Place an order."""
    state = request.app.state
    order_id, now = uuid4().hex, datetime.now(UTC)
    reply: list[Any] = await state.redis.evalsha(
        state.place,
        3,
        f"product:{order.product_id}",
        f"order:{order_id}",
        "queue",
        order_id,
        order.product_id,
        order.user_id,
        order.quantity,
        now.isoformat(),
    )
    if not reply[0]:
        raise HTTPException(404 if reply[1] == "unknown_product" else 409, reply[1])
    response.headers["Location"] = f"/orders/{order_id}"
    return OrderAccepted(
        order_id=order_id,
        status="pending",
        **order.model_dump(),
        unit_price=int(reply[1]),
        currency=reply[2],
        accepted_at=now,
    )


def make_app() -> FastAPI:
    """Build the application."""
    if os.environ.get("BASELINE_GC"):
        gc.set_threshold(50_000, 20, 100)
    app = FastAPI(lifespan=_lifespan)
    app.post("/orders", status_code=202)(place_order)
    if os.environ.get("BASELINE_PROMETHEUS"):
        from prometheus_fastapi_instrumentator import Instrumentator  # noqa: PLC0415 - only this baseline pays for it

        Instrumentator().instrument(app).expose(app)
    return app
