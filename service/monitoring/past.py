"""The last minutes of the sale, as the fleet has seen them, for a page that is opened in the midst of it.

The process that exports the ledger's series notes a point a second in the store, where every process reads them; when
another takes the lease, it goes on. A second in which nothing was read has no point.
"""

from datetime import timedelta
from typing import Self

from pydantic import BaseModel, Field

from service.ledger.orders import Status
from service.ledger.snapshot import Snapshot
from service.ledger.times import Time
from service.monitoring.poller import SnapshotPoller
from service.store import BatchTrace, Shards, SharedRead
from telemetry import suppressed

KEPT = timedelta(seconds=320)
"""Five minutes, and what a mean of ten seconds needs before them."""
SHARD = 0


class PastPoint(BaseModel):
    """The sale at one instant; see the snapshot for the words."""

    timestamp: Time
    accepted: int = Field(description="orders accepted so far")
    throughput: float = Field(description="orders settled per second over the 10 s before")
    queue_length: int

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """Return what is kept of a snapshot."""
        return cls(
            timestamp=snapshot.taken_at,
            accepted=snapshot.orders[Status.PENDING],
            throughput=snapshot.throughput,
            queue_length=snapshot.queue_length,
        )


class Past(BaseModel):
    """The last five minutes of the sale, the oldest point first; a second in which nothing was read has none."""

    points: list[PastPoint]


class PastKeeper:
    """Notes the sale's past for the fleet, and reads it."""

    def __init__(self, shards: Shards, poller: SnapshotPoller) -> None:
        self._shards = shards
        self._poller = poller
        self._noted: Snapshot | None = None
        self._reading = SharedRead(self._read)

    async def flush(self) -> None:
        """Note how the sale stands, once for each reading, if this process speaks for the fleet.

        Raises:
            redis.exceptions.RedisError: The store is down; the second has no point then.
        """
        snapshot = self._poller.exported()
        if not self._poller.reads_for_others or snapshot is None or snapshot is self._noted or not snapshot.complete:
            return
        self._noted = snapshot
        point = PastPoint.of(snapshot)
        args = (round(snapshot.taken_at.timestamp() * 1000), point.model_dump_json(), KEPT // timedelta(milliseconds=1))
        await self._shards.run("note_past", SHARD, *args)

    async def read(self) -> Past:
        """Return the last minutes.

        Raises:
            redis.exceptions.RedisError: The store, or the shard that keeps them, is down.
        """
        return await self._reading()

    async def aclose(self) -> None:
        """End what is being read."""
        await self._reading.aclose()

    async def _read(self, _: BatchTrace) -> Past:
        with suppressed():
            lines = await self._shards.run("past", SHARD)
        return Past(points=[PastPoint.model_validate_json(line) for line in lines])
