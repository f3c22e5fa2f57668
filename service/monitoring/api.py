"""The live figures of the sale as JSON, and the health of the parts behind it."""

from datetime import datetime
from importlib.metadata import version
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from service.errors import describe
from service.monitoring.snapshot import QueueView, Snapshot
from service.orders.models import Status
from service.services import Service, service_of
from service.store import STORE_ERRORS

SILENT_SECONDS = 5.0

router = APIRouter(prefix="/monitoring", tags=["monitoring"])
Services = Annotated[Service, Depends(service_of)]


class ProductMetrics(BaseModel):
    """The units of one product."""

    product_id: str
    name: str
    stock: int
    held: int
    sold: int
    initial_stock: int


class MetricsData(BaseModel):
    """The sale at one instant, the same from every replica."""

    type: Literal["snapshot"] = "snapshot"
    timestamp: datetime
    snapshot_age_seconds: float
    orders: dict[Status, int] = Field(description="orders that reached each status")
    throughput: float = Field(description="orders settled per second over the last 10 s")
    error_rate: float = Field(description="percent of the orders settled over the last 60 s that failed")
    processing_time_avg_ms: float
    queue: QueueView
    active_connections: int = Field(description="open connections of this process")
    products: list[ProductMetrics]


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
    """Tells all figures of the sale, read at most a second ago."""
    snapshot = service.sampler.latest() or await service.sampler.fresh()
    return MetricsData(
        timestamp=snapshot.taken_at,
        snapshot_age_seconds=round(service.sampler.age_seconds(), 3),
        orders=snapshot.orders,
        throughput=snapshot.throughput,
        error_rate=snapshot.error_rate,
        processing_time_avg_ms=snapshot.processing_time_avg_ms,
        queue=QueueView.of(snapshot),
        active_connections=service.connections(),
        products=[ProductMetrics(**{n: getattr(p, n) for n in ProductMetrics.model_fields}) for p in snapshot.products],
    )


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
