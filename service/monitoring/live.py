"""The live figures of the whole fleet: what the ledger says, and what the windows of all processes say.

Every process builds the same metrics, about once a second and only when somebody looks; `Live.live_metrics` are
those, for all who ask in between.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from service.ledger.orders import Status
from service.ledger.products import Product, SaleState
from service.ledger.snapshot import MissingShards, QueueView, Snapshot
from service.ledger.times import Time
from service.metrics import REASONS
from service.monitoring.poller import SnapshotPoller
from service.store import BatchTrace, Shards, SharedRead, keys
from telemetry import suppressed
from telemetry.windows import SLOT_SECONDS, LatencyHistogram, RequestWindows, WindowStats

WINDOW = timedelta(seconds=60)
MIN_SILENCE = timedelta(seconds=3)
"""Windows are flushed once a second: of a process that is late for one flush, or two, the last word still stands."""

ERRORS_SHOWN = 20
WINDOWS_SHARD = 0
CONNECTIONS, EVENT_STREAMS = "connections", "event_streams"
"""What a process says of itself at each flush."""


class ProductMetrics(BaseModel):
    """The units of one product, and how its sale stands."""

    product_id: str
    name: str
    stock: int
    held: int
    sold: int
    initial_stock: int
    opens_at: datetime
    closes_at: datetime | None
    state: SaleState = Field(description="how its sale stands at `timestamp`")
    by_ticket: bool = Field(description="whether it is sold by ticket (`admission`)")
    tickets_given: int = Field(description="of the present lot, late ones too")
    tickets_admitted: int | None = Field(description="how many of them have had their turn; null until drawn")

    @classmethod
    def of(cls, product: Product, now: datetime) -> Self:
        """Return a product as it is at `now`."""
        names = cls.model_fields.keys() - {"state"}
        return cls(state=product.state(now), **{name: getattr(product, name) for name in names})


class RequestMetrics(BaseModel):
    """The requests of the last 60 s with one method, route and status. A percentile is within 5 % of the exact one."""

    method: str
    route: str = Field(description="the template; `unmatched` for all paths that have none")
    status: int
    count: int
    rate: float = Field(description="requests per second")
    p50_ms: float
    p95_ms: float
    p99_ms: float


class ErrorEntry(BaseModel):
    """A request that the service failed (5xx); a refusal is an answer and not listed."""

    time: Time
    method: str
    route: str
    status: int
    code: str
    exception: str | None
    trace_id: str | None
    worker: str


class MetricsData(BaseModel):
    """The sale at one instant, the same from every replica but for `seq` and `snapshot_age_seconds`."""

    type: Literal["snapshot"] = "snapshot"
    seq: int = Field(description="rises with each reading of the ledger by the process that answers")
    timestamp: Time
    snapshot_age_seconds: float
    orders: dict[Status, int] = Field(description="orders that reached each status")
    revenue: dict[str, int] = Field(
        description="by currency, in minor units: what confirmed orders cost less what was refunded"
    )
    rejections: dict[str, int] = Field(description="orders refused, by the code of the answer")
    throughput: float = Field(description="orders settled per second over the last 10 s")
    error_rate: float = Field(description="percent of the orders settled over the last 60 s that failed")
    processing_time_avg_ms: float
    queue: QueueView
    estimated_wait_seconds: float | None = Field(description="of an order placed now; null while no rate is known")
    active_connections: int | None = Field(
        description="open client connections of all processes; null while shard 0, which keeps this, is missing"
    )
    event_streams: int | None = Field(
        description="those of them that are streams of server-sent events; null as `active_connections`"
    )
    requests: list[RequestMetrics]
    products: list[ProductMetrics]
    errors: list[ErrorEntry] = Field(description="the last 20 of the hour, the newest first")
    missing_shards: MissingShards = None
    dropped: int = Field(0, description="snapshots that this WebSocket client has lost because it read too slowly")


class Benchmark(BaseModel):
    """All requests of a window together. Percentiles are within 5 % of the exact ones, the mean is exact."""

    window_seconds: float = Field(description="the window read: whole slots of 10 s, and nothing from before a clear")
    requests: int
    errors: int = Field(description="answers with a status of 500 or more")
    error_rate: float = Field(description="percent of the requests")
    throughput: float = Field(description="requests per second")
    peak_throughput: float = Field(description="the same over the busiest slot of 10 s")
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    concurrency: float = Field(description="requests under way at one time, on average: the sum of durations over time")
    peak_concurrency: float = Field(description="the same over the busiest slot of 10 s; moments were higher")

    @classmethod
    def of(cls, figures: WindowStats) -> Self:
        """Return the sums over the whole window."""
        total = figures.all()
        errors = sum(
            d.count for series, d in figures.series.items() if series.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        )
        busy = total.microseconds / 1e6
        return cls(
            window_seconds=round(figures.seconds, 3),
            requests=total.count,
            errors=errors,
            error_rate=100 * errors / total.count if total.count else 0.0,
            throughput=_per_second(total.count, figures.seconds),
            peak_throughput=max((slot.requests / SLOT_SECONDS for slot in figures.slots), default=0.0),
            mean_ms=round(total.mean_seconds * 1000, 3),
            concurrency=_per_second(busy, figures.seconds),
            peak_concurrency=max((round(slot.busy_seconds / SLOT_SECONDS, 3) for slot in figures.slots), default=0.0),
            **_percentiles(total),
        )


def open_windows(
    shards: Shards, slot: str, heartbeat: Callable[[], Mapping[str, float | str]], *, silence: timedelta
) -> RequestWindows:
    """Make the windows as a process of this service writes and reads them.

    Args:
        shards: Where they are kept.
        slot: The slot of this process.
        heartbeat: What it says of itself at each flush.
        silence: After how long without a heartbeat a process counts as dead; at least `MIN_SILENCE`.
    """
    silence = max(silence, MIN_SILENCE)
    return RequestWindows(
        shards.client,
        f"{keys.prefix(WINDOWS_SHARD, shards.prefix)}live:",
        worker=slot,
        heartbeat=heartbeat,
        silence=silence,
    )


class Live:
    """The live metrics as one process builds them."""

    def __init__(self, poller: SnapshotPoller, windows: RequestWindows) -> None:
        self._poller = poller
        self._windows = windows
        self._built: MetricsData | None = None
        self._building = SharedRead(self._build)
        self._listening = SharedRead(self._listen)

    async def live_metrics(self) -> MetricsData:
        """Return the metrics of this second.

        Raises:
            redis.exceptions.RedisError: The store is down; there are no old figures.
        """
        made = await self._building()
        return made.model_copy(update={"snapshot_age_seconds": round(self._poller.age_seconds(), 3)})

    async def reports(self) -> list[dict[str, Any]]:
        """Return what each process that is not silent said of itself last, within a second.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        return await self._listening()

    async def aclose(self) -> None:
        """End what is under way."""
        await self._building.aclose()
        await self._listening.aclose()

    async def _listen(self, _: BatchTrace) -> list[dict[str, Any]]:
        with suppressed():
            return (await self._windows.read(timedelta(0))).heartbeats

    async def _build(self, _: BatchTrace) -> MetricsData:
        snapshot = self._poller.latest() or await self._poller.fresh()
        seq = self._poller.readings
        if self._built is not None and self._built.seq == seq:
            return self._built
        figures = await self._read_windows(snapshot)
        self._built = MetricsData(
            seq=seq,
            timestamp=snapshot.taken_at,
            snapshot_age_seconds=0.0,
            orders=snapshot.orders,
            revenue=snapshot.revenue,
            rejections={reason: snapshot.rejections.get(reason, 0) for reason in REASONS},
            throughput=snapshot.throughput,
            error_rate=snapshot.error_rate,
            processing_time_avg_ms=snapshot.processing_time_avg_ms,
            queue=QueueView.of(snapshot),
            estimated_wait_seconds=snapshot.estimated_wait_seconds,
            active_connections=_reported(figures, CONNECTIONS) if figures else None,
            event_streams=_reported(figures, EVENT_STREAMS) if figures else None,
            requests=requests_of(figures) if figures else [],
            products=[ProductMetrics.of(product, snapshot.taken_at) for product in snapshot.products],
            errors=errors_of(figures) if figures else [],
            missing_shards=snapshot.missing_shards,
        )
        return self._built

    async def _read_windows(self, snapshot: Snapshot) -> WindowStats | None:
        """Read what the processes say; None while the shard that keeps it is missing."""
        if WINDOWS_SHARD in (snapshot.missing_shards or ()):
            return None
        with suppressed():
            return await self._windows.read(WINDOW, failures=ERRORS_SHOWN)


def _reported(figures: WindowStats, name: str) -> int:
    """Return how many all processes have together."""
    return round(sum(float(reported.get(name, 0)) for reported in figures.heartbeats))


def requests_of(figures: WindowStats) -> list[RequestMetrics]:
    """Return the requests by method, route and status."""
    return [
        RequestMetrics(
            **series._asdict(), count=found.count, rate=_per_second(found.count, figures.seconds), **_percentiles(found)
        )
        for series, found in sorted(figures.series.items())
        if found.count
    ]


def errors_of(figures: WindowStats) -> list[ErrorEntry]:
    """Return the failures, the newest first."""
    return [ErrorEntry.model_validate(failure, from_attributes=True) for failure in figures.failures]


def _percentiles(found: LatencyHistogram) -> dict[str, float]:
    shares = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}
    return {name: round(found.percentile(share) * 1000, 3) for name, share in shares.items()}


def _per_second(count: float, seconds: float) -> float:
    return round(count / seconds, 3) if seconds else 0.0
