"""How the parts of the service are: the store, the queue, every order worker, the export of telemetry, versions."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.api.context import ApiContext
from service.ledger.snapshot import QueueView
from service.orders.worker import Worker
from service.store import STORE_ERRORS, outage_reason
from telemetry import Telemetry

LIBRARIES = ("fastapi", "uvicorn", "redis", "opentelemetry-sdk")

Export = Literal["off", "unknown", "ok", "failing"]


class WorkerHealth(BaseModel):
    """One order worker."""

    consumer: str
    heartbeat_age_seconds: float
    progress_age_seconds: float | None = Field(
        description="since it last ended an attempt at an order or found nothing to do; null before it first said so"
    )
    in_hand: int | None = Field(description="orders that it has begun and not ended")


class TelemetryHealth(BaseModel):
    """What this process knows of the collector; `unknown` before the first batch."""

    spans: Export
    log_lines: Export


class StoreMemoryHealth(BaseModel):
    """How much room the store has; of a cluster, its fullest primary."""

    used_bytes: int
    limit_bytes: int | None = Field(description="`maxmemory`, beyond which it takes no order; null: no limit")


class ServiceHealth(BaseModel):
    """How the parts behind this process are.

    `degraded` when the store takes no orders or has hardly any room left, or when no worker is alive.
    """

    status: Literal["ok", "degraded"]
    version: str
    versions: dict[str, str] = Field(description="of Python, of the store and of the libraries that matter most")
    store: Literal["ok", "unavailable"]
    store_reason: str | None = Field(
        description="why a shard takes no writes, say `out_of_memory`; `nearly_full`: 90 % of its memory limit is "
        "used; null when all is well"
    )
    store_memory: StoreMemoryHealth | None = Field(description="null while the store does not say")
    missing_shards: list[int] = Field(description="the shards that take no writes")
    queue: QueueView | None
    workers: list[WorkerHealth]
    telemetry: TelemetryHealth
    snapshot_age_seconds: float


def worker_report(worker: Worker) -> dict[str, float | str]:
    """Return what an order worker tells the others of itself once a second."""
    return {
        "consumer": worker.consumer,
        "progress_age_seconds": worker.progress_age_seconds(),
        "in_hand": worker.in_flight,
    }


async def service_health(context: ApiContext) -> ServiceHealth:
    """Look at everything now."""
    heartbeats: Mapping[str, float] = {}
    alive = False
    reported: Mapping[str, Mapping[str, Any]] = {}
    queue = None
    try:
        snapshot = await context.poller.fresh()
        queue = QueueView.of(snapshot)
        heartbeats, alive = snapshot.workers, bool(snapshot.live_workers(context.settings.worker_silence))
        reported = {str(words["consumer"]): words for words in await context.live.reports() if "consumer" in words}
        await context.writes.confirm()
        store: Literal["ok", "unavailable"] = "ok"
        reason = context.writes.reason
    except STORE_ERRORS as error:
        store = "unavailable"
        reason = context.writes.reason or outage_reason(error)
    memory = context.writes.memory
    return ServiceHealth(
        status="ok" if store == "ok" and alive and not (memory and memory.nearly_full) else "degraded",
        version=version("flash-sale"),
        versions=_versions(context.shards.server),
        store=store,
        store_reason=reason or ("nearly_full" if memory and memory.nearly_full else None),
        store_memory=memory and StoreMemoryHealth(used_bytes=memory.used_bytes, limit_bytes=memory.limit_bytes or None),
        missing_shards=context.writes.missing_shards,
        queue=queue,
        workers=[_worker(name, age, reported.get(name, {})) for name, age in sorted(heartbeats.items())],
        telemetry=telemetry_health(context.telemetry),
        snapshot_age_seconds=round(context.poller.age_seconds(), 3),
    )


def telemetry_health(telemetry: Telemetry) -> TelemetryHealth:
    """Return the state of both pipelines."""
    words: Mapping[str, Export] = {"unknown": "unknown", "healthy": "ok", "unhealthy": "failing"}
    found = {name: words[health.value] for name, health in telemetry.exporter_health.items()}
    return TelemetryHealth(spans=found.get("spans", "off"), log_lines=found.get("log lines", "off"))


def _worker(consumer: str, heartbeat: float, reported: Mapping[str, Any]) -> WorkerHealth:
    progress = reported.get("progress_age_seconds")
    return WorkerHealth(
        consumer=consumer,
        heartbeat_age_seconds=heartbeat,
        progress_age_seconds=None if progress is None else round(progress, 3),
        in_hand=reported.get("in_hand"),
    )


def _versions(store: str) -> dict[str, str]:
    libraries = {name: version(name) for name in LIBRARIES}
    return {"flash-sale": version("flash-sale"), "python": platform.python_version(), "store": store, **libraries}
