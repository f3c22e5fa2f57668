"""A fleet reads the ledger once a second, by one of its processes; metrics and pages read what each keeps in memory.

Who reads tells the others (`service.ledger.turns`); while not all is well with the store each reads for itself. Who
must know how things are now asks for a `fresh` reading, which all who ask a process at one time share. The age of what
is shown is that of the last turn, in which the store also took a write: readings that others ask for do not make a
ledger young that takes no orders.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

import structlog

from service.ledger.lease import Lease
from service.ledger.snapshot import STALE_SECONDS, ProductRows, Snapshot, take_snapshot, told_snapshot
from service.ledger.turns import FleetTurns, Siblings, Told
from service.ledger.write_check import WriteCheck
from service.store import STORE_ERRORS, BatchTrace, Shards, SharedRead
from telemetry import suppressed


class SnapshotPoller:
    """Keeps the newest snapshot; none while the store does not answer, so that nothing stale is ever shown."""

    def __init__(
        self,
        shards: Shards,
        lease: Lease,
        writes: WriteCheck,
        clock: Callable[[], float] = monotonic,
        on_reading: Callable[[Snapshot, float], None] = lambda *_: None,
        siblings: Siblings | None = None,
    ) -> None:
        self._shards = shards
        self._on_reading = on_reading
        self._lease = lease
        self._writes = writes
        self._clock = clock
        self._started = clock()
        self._turned: float | None = None
        self._turns = FleetTurns(siblings or Siblings(), "ledger", self._turn, self._take, clock=clock)
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

    @property
    def reads_for_others(self) -> bool:
        """Whether this process took the last turn; of a fleet one does, of one in trouble each."""
        return self._turns.ours

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
        """Have the ledger read once a second until it is cancelled; nothing is under way after that."""
        try:
            await self._turns.run(outage=STORE_ERRORS, on_outage=self._lost)
        finally:
            await self._reading.aclose()

    async def _turn(self) -> Told | None:
        await self._writes.confirm()
        snapshot = await self._renew_and_read()
        self._turned = self._clock()
        self._well()
        if snapshot.missing_shards or self._writes.reason:
            return None
        return {"turned": self._turned, "lease": self._lease.until, "replies": self._rows.replies}

    async def _renew_and_read(self) -> Snapshot:
        """Keep the lease and read the ledger: in one step, where there is one shard."""
        with suppressed():
            if self._shards.count > 1:
                await self._lease.renew()
                return await self.fresh()
            asked, (shard,) = self._clock(), tuple(self._shards)
            self._rows.replies = {shard: await self._lease.renew_and("turn")}
            snapshot = Snapshot.from_shards(list(self._rows.replies.values()), self._rows)
        self._keep(snapshot, asked)
        return snapshot

    def _take(self, told: Told, begun: float) -> None:
        self._turned, self._lease.until = told["turned"], told["lease"]
        self._keep(told_snapshot(self._shards, self._rows, told["replies"]), begun)
        self._well()

    def _well(self) -> None:
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
        self._keep(snapshot, asked)
        return snapshot

    def _keep(self, snapshot: Snapshot, asked: float) -> None:
        self._snapshot = snapshot
        self._on_reading(snapshot, asked)
        self.readings += 1
        self._next.set()
        self._next = asyncio.Event()
