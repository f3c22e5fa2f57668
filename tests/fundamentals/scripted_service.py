"""A small real service whose answers follow a script, and the plans of crowds that go there."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from service.crowd import CrowdPlan, CrowdReport
from tests.support import free_port, wait_until

REFUSALS = {409: "sold_out", 429: "rate_limited", 503: "overloaded", 500: "internal_error"}
OPENED = "2020-01-01T00:00:00Z"


class Script:
    """A service that answers by a script and counts what it did. Orders settle when first asked for twice."""

    def __init__(self, answer: Callable[[int], int] = lambda _: 202) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.statuses: Counter[int] = Counter()
        self.keys: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.asked: Counter[str] = Counter()
        self.hold = asyncio.Event()
        self.hold.set()
        self.ready = True
        self.products: list[dict[str, Any]] = []

    @property
    def accepted(self) -> int:
        """How many orders there are."""
        return self.statuses[202]

    async def accepts(self, more: int) -> None:
        """Wait until it has accepted so many orders more."""
        goal = self.accepted + more
        await wait_until(lambda: self.accepted >= goal, 15, f"{more} orders are accepted")

    async def order(self, request: Request) -> JSONResponse:
        """Take an order down, and answer when nothing holds the answer back."""
        body = await request.json()
        number = len(self.bodies)
        self.bodies.append(body | {"key": request.headers.get("idempotency-key")})
        await self.hold.wait()
        return self.reply(number, request.headers.get("idempotency-key"))

    def reply(self, number: int, key: str | None) -> JSONResponse:
        """Answer the request of that number: a known key again, anything else by the script."""
        if key is not None and key in self.keys:
            self.statuses[200] += 1
            replay = {"order_id": self.keys[key]}
            return JSONResponse(replay, 200, {"Idempotency-Replayed": "true"})
        status = self.answer(number)
        self.statuses[status] += 1
        if status != 202:
            problem = {"status": status, "code": REFUSALS[status]}
            return JSONResponse(problem, status, media_type="application/problem+json")
        if key is not None:
            self.keys[key] = f"order-{number}"
        return JSONResponse({"order_id": f"order-{number}", "status": "pending"}, status)

    def app(self) -> FastAPI:
        """Make the application."""
        app = FastAPI()
        app.post("/orders")(self.order)

        @app.get("/readyz")
        def ready(response: Response) -> None:
            self.asked["/readyz"] += 1
            response.status_code = 200 if self.ready else 503

        @app.get("/inventory")
        def inventory() -> dict[str, Any]:
            return {"products": self.products}

        @app.post("/orders/{order_id}/cancel")
        def cancel(order_id: str) -> JSONResponse:
            self.cancelled.append(order_id)
            return JSONResponse({"code": "not_cancellable"}, 409)

        @app.get("/orders/{order_id}")
        def look(order_id: str) -> JSONResponse:
            self.asked[order_id] += 1
            if self.asked[order_id] < 2:
                return JSONResponse({"status": "processing"})
            at = datetime(2026, 1, 1, tzinfo=UTC)
            stamps = {"accepted_at": at.isoformat(), "settled_at": (at + timedelta(seconds=2)).isoformat()}
            return JSONResponse({"status": "confirmed", **stamps})

        return app


@asynccontextmanager
async def serve_at(port: int, script: Script) -> AsyncIterator[str]:
    """Serve the script on a port that the test has chosen; yields the base URL."""
    server = uvicorn.Server(uvicorn.Config(script.app(), port=port, lifespan="off", log_level="warning"))
    serving = asyncio.create_task(server.serve())
    try:
        await wait_until(lambda: server.started or serving.done(), 10, "uvicorn has started")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def serve(script: Script) -> AsyncIterator[str]:
    """Serve the script on a free port."""
    async with serve_at(free_port(), script) as url:
        yield url


def plan_for(url: str, **changes: Any) -> CrowdPlan:
    """Return a plan of 500 orders without frills; its seed is in the output of a failing test."""
    plain = {"orders": 500, "idempotency_share": 0, "retry_share": 0, "mix": {"p1": 1, "p2": 3}}
    plan = CrowdPlan(**{"base_url": url, "concurrency": 16, **plain, **changes})
    print("seed", plan.seed)  # noqa: T201 - pytest shows it with a failure
    return plan


def check_sums(report: CrowdReport) -> None:
    """Every request and every order is accounted for once."""
    assert report.requests == sum(o.count for o in report.outcomes) + sum(report.errors.values())
    assert report.orders == report.accepted + report.refused + report.unreached + report.unknown


def outcomes(report: CrowdReport) -> dict[tuple[int, str], int]:
    """Return the counts by status and code."""
    return {(outcome.status, outcome.code): outcome.count for outcome in report.outcomes}
