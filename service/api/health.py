"""Is the process alive, and is it fit for traffic."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from service.api.context import Context
from service.api.errors import describe
from service.problems import Problem

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """How the process is."""

    status: Literal["ok", "ready"]


@router.get("/healthz")
async def alive() -> Health:
    """Answers while the process is alive."""
    return Health(status="ok")


@router.get("/readyz", responses=describe("store_unavailable", "overloaded"))
async def ready(context: Context) -> Health:
    """Answers 200 while the store answers, the scripts are loaded and the process is not about to end."""
    if context.draining:
        raise Problem("overloaded", "The process is about to end.", headers={"Retry-After": "1"})
    await context.poller.fresh()
    return Health(status="ready")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request, context: Context) -> Response:
    """Prometheus text: every series of this process, of its siblings, and of the ledger."""
    body, content_type = await context.telemetry.exposition_of_all(request.headers.get("accept"))
    return Response(body, media_type=content_type)
