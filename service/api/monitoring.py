"""The live figures of the sale as JSON, and the health of the parts behind it."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from service.api.admin_writes import note_replay, once_only
from service.api.auth import Admin
from service.api.context import Context
from service.api.errors import describe
from service.api.orders import IdempotencyKey
from service.api.service_health import ServiceHealth, service_health
from service.api.strict_json import StrictRoute
from service.api.watch_auth import WatcherAuth
from service.ledger.once_only import claim
from service.monitoring.live import Benchmark, ErrorEntry, MetricsData, errors_of
from service.monitoring.past import Past
from service.problems import Problem
from telemetry.windows import KEEP_SECONDS, MAX_ERRORS

router = APIRouter(prefix="/monitoring", tags=["monitoring"], route_class=StrictRoute)


class ErrorList(BaseModel):
    """Requests that the service failed, the newest first."""

    errors: list[ErrorEntry]


class Cleared(BaseModel):
    """The windows are empty."""

    status: Literal["cleared"] = "cleared"


@router.get("/metrics", dependencies=[WatcherAuth], responses=describe("unauthorized", "store_unavailable"))
async def read_metrics(context: Context) -> MetricsData:
    """Tell all figures of the sale and of the requests of the last 60 s, read at most a second ago."""
    return await context.live.live_metrics()


@router.get("/metrics/history", dependencies=[WatcherAuth], responses=describe("unauthorized", "store_unavailable"))
async def read_metrics_history(context: Context) -> Past:
    """Tell how the sale went over the last five minutes, as the fleet has seen it: the same from every process."""
    return await context.past.read()


@router.get("/errors", dependencies=[WatcherAuth], responses=describe("unauthorized", "store_unavailable"))
async def read_errors(context: Context) -> ErrorList:
    """List the last 100 requests of the hour that the service failed."""
    return ErrorList(errors=errors_of(await context.windows.read(timedelta(0), failures=MAX_ERRORS)))


@router.get(
    "/benchmark", dependencies=[WatcherAuth], responses=describe("unauthorized", "invalid", "store_unavailable")
)
async def read_benchmark(
    context: Context, window_seconds: Annotated[int, Query(ge=10, le=KEEP_SECONDS, description="how far back")] = 60
) -> Benchmark:
    """Tell how many requests there were and how fast they were answered, by all processes together."""
    return Benchmark.of(await context.windows.read(timedelta(seconds=window_seconds)))


@router.post(
    "/metrics/clear",
    dependencies=[Admin],
    responses=describe("unauthorized", "admin_disabled", "invalid", "idempotency_conflict", "store_unavailable"),
)
async def clear_metrics(context: Context, response: Response, idempotency_key: IdempotencyKey = None) -> Cleared:
    """Empty the windows and the list of errors; the ledger and everything read from it stay."""
    once = once_only(idempotency_key, context.settings.policy.idempotency, "clear metrics")
    if once is None:
        await context.windows.clear()
        return Cleared()
    if not await claim(context.shards, once):
        raise Problem("idempotency_conflict")
    cleared = await context.windows.clear(once.digest, kept=once.kept)
    note_replay(response, replayed=not cleared)
    return Cleared()


@router.get("/health")
async def read_health(context: Context) -> ServiceHealth:
    """Tell how the store, the queue, the workers and the export of telemetry are, and all versions."""
    return await service_health(context)
