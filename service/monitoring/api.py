"""The live figures of the sale as JSON, and the health of the parts behind it."""

from datetime import timedelta
from importlib.metadata import version
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from service.auth import Admin
from service.errors import describe
from service.monitoring.live import MOST_ERRORS, Benchmark, ErrorEntry, MetricsData, errors_of
from service.monitoring.snapshot import QueueView, Snapshot
from service.services import Service, service_of
from service.store import STORE_ERRORS
from telemetry.live import KEEP_SECONDS

SILENT_SECONDS = 5.0

router = APIRouter(prefix="/monitoring", tags=["monitoring"])
Services = Annotated[Service, Depends(service_of)]


class ErrorList(BaseModel):
    """Requests that the service failed, the newest first."""

    errors: list[ErrorEntry]


class Cleared(BaseModel):
    """The windows are empty."""

    status: Literal["cleared"] = "cleared"


class WorkerHealth(BaseModel):
    """One order worker."""

    consumer: str
    heartbeat_age_seconds: float


class ServiceHealth(BaseModel):
    """How the parts behind this process are; `degraded` when the store is silent or no worker is alive."""

    status: Literal["ok", "degraded"]
    version: str
    store: Literal["ok", "unavailable"]
    queue: QueueView | None
    workers: list[WorkerHealth]
    snapshot_age_seconds: float


@router.get("/metrics", responses=describe("store_unavailable"))
async def read_metrics(service: Services) -> MetricsData:
    """Tells all figures of the sale and of the requests of the last 60 s, read at most a second ago."""
    return await service.live.picture()


@router.get("/errors", responses=describe("store_unavailable"))
async def read_errors(service: Services) -> ErrorList:
    """Lists the last 100 requests of the hour that the service failed."""
    return ErrorList(errors=errors_of(await service.windows.read(timedelta(0), failures=MOST_ERRORS)))


@router.get("/benchmark", responses=describe("invalid", "store_unavailable"))
async def read_benchmark(
    service: Services, window_seconds: Annotated[int, Query(ge=10, le=KEEP_SECONDS, description="how far back")] = 60
) -> Benchmark:
    """Tells how many requests there were and how fast they were answered, by all processes together."""
    return Benchmark.of(await service.windows.read(timedelta(seconds=window_seconds)))


@router.post(
    "/metrics/clear",
    dependencies=[Admin],
    responses=describe("unauthorized", "admin_disabled", "store_unavailable"),
)
async def clear_metrics(service: Services) -> Cleared:
    """Empties the windows and the list of errors; the ledger and everything read from it stay."""
    await service.windows.clear()
    return Cleared()


@router.get("/health")
async def read_health(service: Services) -> ServiceHealth:
    """Tells how the store, the queue and the workers are."""
    try:
        snapshot: Snapshot | None = await service.sampler.fresh()
    except STORE_ERRORS:
        snapshot = None
    workers = snapshot.workers if snapshot else {}
    alive = any(age <= SILENT_SECONDS for age in workers.values())
    return ServiceHealth(
        status="ok" if snapshot and alive else "degraded",
        version=version("flash-sale"),
        store="ok" if snapshot else "unavailable",
        queue=QueueView.of(snapshot) if snapshot else None,
        workers=[WorkerHealth(consumer=name, heartbeat_age_seconds=age) for name, age in sorted(workers.items())],
        snapshot_age_seconds=round(service.sampler.age_seconds(), 3),
    )
