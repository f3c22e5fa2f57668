"""One coroutine of a process reads the ledger once a second; metrics and pages read what it keeps in memory.

Who must know how things are now asks for a `fresh` reading, which all who ask at one time share. The age of what is
shown is that of the coroutine's own last turn, in which the store also took a write: readings that others ask for do
not make a ledger young that takes no orders.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

import structlog

from service.background import every
from service.ledger.lease import Lease
from service.ledger.snapshot import STALE_SECONDS, ProductRows, Snapshot, take_snapshot
from service.ledger.write_check import WriteCheck
from service.store import STORE_ERRORS, BatchTrace, Shards, SharedRead
from telemetry import suppressed

INTERVAL_SECONDS = 1.0


class SnapshotPoller:
    """Keeps the newest snapshot; none while the store does not answer, so that nothing stale is ever shown."""

    def __init__(
        self,
        shards: Shards,
        lease: Lease,
        writes: WriteCheck,
        clock: Callable[[], float] = monotonic,
        on_reading: Callable[[Snapshot, float], None] = lambda *_: None,
    ) -> None:
        self._shards = shards
        self._on_reading = on_reading
        self._lease = lease
        self._writes = writes
        self._clock = clock
        self._started = clock()
        self._turned: float | None = None
        self._snapshot: Snapshot | None = None
        self._rows = ProductRows()
        self._reading = SharedRead(self._read)
        self.readings = 0
        self._next = asyncio.Event()
        self._down = False
        self._log = structlog.get_logger("service.monitoring.poller")

    def latest(self) -> Snapshot | None:
        """Return the newest snapshot; None when the last reading failed or is long ago."""
        return self._snapshot if self.age_seconds() < STALE_SECONDS else None

    def exported(self) -> Snapshot | None:
        """Return what this process exports: the newest snapshot while the lease is ours."""
        return self.latest() if self._lease.held() else None

    def age_seconds(self) -> float:
        """Time since the ledger last took a write and was read, turn by turn; since the start if it never did."""
        return self._clock() - (self._started if self._turned is None else self._turned)

    async def fresh(self) -> Snapshot:
        """Read the ledger now, in one round trip for all who ask now.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        return await self._reading()

    async def reading_after(self, number: int) -> None:
        """Wait until the ledger was read more than `number` times."""
        while self.readings <= number:
            await self._next.wait()

    async def run(self) -> None:
        """Read the ledger once a second until it is cancelled; nothing is under way after that."""
        try:
            await every(INTERVAL_SECONDS, self._round, outage=STORE_ERRORS, on_outage=self._lost)
        finally:
            await self._reading.aclose()

    async def _round(self) -> None:
        await self._writes.confirm()
        with suppressed():
            await self._lease.renew()
        await self.fresh()
        self._turned = self._clock()
        if self._down:
            self._log.info("the store answers again")
        self._down = False

    def _lost(self, error: Exception) -> None:
        self._snapshot = None
        if not self._down:
            self._log.warning("the store does not answer", error=str(error))
        self._down = True

    async def _read(self, _: BatchTrace) -> Snapshot:
        asked = self._clock()
        with suppressed():
            snapshot = await take_snapshot(self._shards, self._rows)
        self._snapshot = snapshot
        self._on_reading(snapshot, asked)
        self.readings += 1
        self._next.set()
        self._next = asyncio.Event()
        return snapshot
