"""Is the process alive, is it fit for traffic, what has it counted: the same of API processes and order workers."""

from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from service.api.errors import describe
from service.problems import Problem
from service.store import STORE_ERRORS, outage_reason
from telemetry import Telemetry

RETRY_SECONDS = 1


class Health(BaseModel):
    """How the process is."""

    status: Literal["ok", "ready"]


def create_router(
    telemetry: Telemetry, *, draining: Callable[[], bool], ask_store: Callable[[], Awaitable[object]]
) -> APIRouter:
    """Build the routes `/healthz`, `/readyz` and `/metrics` of a process.

    Args:
        telemetry: Of this process.
        draining: Whether the process is about to end.
        ask_store: Raises an error of the store's while it does not do what this process needs.
    """
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def read_liveness() -> Health:
        """Answer while the process is alive."""
        return Health(status="ok")

    @router.get("/readyz", responses=describe("store_unavailable", "overloaded"))
    async def read_readiness() -> Health:
        """Answer 200 while a shard of the store takes writes and the process is not about to end."""
        if draining():
            raise Problem("overloaded", "The process is about to end.", headers={"Retry-After": str(RETRY_SECONDS)})
        try:
            await ask_store()
        except STORE_ERRORS as error:
            detail = f"The store takes no orders: {outage_reason(error)}."
            raise Problem("store_unavailable", detail, headers={"Retry-After": str(RETRY_SECONDS)}) from error
        return Health(status="ready")

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def read_prometheus_metrics(request: Request) -> Response:
        """Export every series of this process, of its siblings, and of the ledger as Prometheus text."""
        return await telemetry.scrape(request)

    return router
