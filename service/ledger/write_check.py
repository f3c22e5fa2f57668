"""Whether the store takes writes: a process of each fleet writes next to nothing into every shard once a second.

A read says nothing of that: a store with a full disk or a full memory, a replica, a primary without its replicas all
read well. What the last write said is kept for `KEPT_SECONDS`, so that any number of probes costs no other write. That
all shards took it is told to the other processes of the fleet; of anything else each hears from the store itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import structlog

from service.cancellation import cancel_and_wait
from service.deadline import within
from service.ledger.turns import FleetTurns, Siblings, Told
from service.store import STORE_ERRORS, BatchTrace, Shards, SharedRead, data_directory, keys, outage_reason
from service.store.connection import StoreUnsafe, outage_code
from service.store.disk import GONE, trouble_of
from service.store.memory import StoreMemory
from service.store.preflight import look_again
from service.store.replication import ReplicaCount, online_replicas
from telemetry import suppressed

KEPT_SECONDS = 1.25
LOOK_SECONDS = 2.0


class WriteCheck:
    """What one process knows of the shards: `confirm` says whether any of them takes writes now.

    Args:
        shards: The store.
        timeout_seconds: How long a write may take.
        clock: Seconds that only grow.
        siblings: The other processes of the fleet.
    """

    def __init__(
        self,
        shards: Shards,
        timeout_seconds: float,
        clock: Callable[[], float] = monotonic,
        siblings: Siblings | None = None,
    ) -> None:
        self._shards = shards
        self._timeout = timeout_seconds
        self._data_dir = data_directory(shards.client)
        self._clock = clock
        self._written = SharedRead(self._write)
        self._turns = FleetTurns(siblings or Siblings(), "writes", self._turn, self._take, clock=clock)
        self._ended: float | None = None
        self._failed: dict[int, Exception] = {}
        self._known: set[int] = set()
        self._probes: dict[int, asyncio.Task[Exception | None]] = {}
        self._look_at = 0.0
        self._danger: Exception | None = None
        self._memory: StoreMemory | None = None
        self._replicas: dict[int, int] = {}
        self._log = structlog.get_logger("service.ledger.write_check")

    @property
    def reason(self) -> str | None:
        """Why some shard took no write the last time, as one word; None when all did."""
        return next(map(outage_reason, self._failed.values()), None)

    @property
    def missing_shards(self) -> list[int]:
        """The shards that took no write the last time."""
        return sorted(self._failed)

    @property
    def memory(self) -> StoreMemory | None:
        """How much room the store has, as looked at within the last seconds; None while it does not say."""
        return self._memory

    async def ask(self, read: Callable[[], Awaitable[object]]) -> None:
        """Return if a shard takes writes; a single store that is gone or hangs is noticed now, not at the next write.

        Args:
            read: Asks the store anything. What it says instead of an answer is known from now on, and once it answers
                again it is asked at once whether it takes writes, too.

        Raises:
            redis.exceptions.RedisError: No shard takes writes.
        """
        try:
            await read()
        except STORE_ERRORS as error:
            if self._shards.count == 1:  # else another shard may sell on
                self._found(dict.fromkeys(self._shards, error))
                raise
        if self._failed:
            await self._written()
        else:
            await self.confirm()

    async def ping(self) -> None:
        """Read next to nothing, for who has nothing better to ask with."""
        if self._shards.count == 1:
            await self._shards.client.ping()

    async def confirm(self) -> None:
        """Return if a shard took a write within `KEPT_SECONDS`; wait for the write that is away, or write, if need be.

        Raises:
            redis.exceptions.RedisError: No shard takes writes.
        """
        if self._ended is None or self._clock() - self._ended > KEPT_SECONDS:
            await self._written()
        elif len(self._failed) == self._shards.count:
            raise next(iter(self._failed.values()))

    async def run(self) -> None:
        """Have a write made once a second until cancelled."""
        await self._turns.run(outage=STORE_ERRORS)

    async def aclose(self) -> None:
        """End a write that is away."""
        await self._written.aclose()
        await cancel_and_wait(self._probes.values())

    async def _turn(self) -> Told | None:
        await self._written()
        if self._failed:
            return None
        memory = self._memory and (self._memory.used_bytes, self._memory.limit_bytes)
        return {"ended": self._ended, "memory": memory, "replicas": self._replicas}

    def _take(self, told: Told, _: float) -> None:
        """Take in that all shards took the write of another process."""
        self._ended = told["ended"]
        self._memory = StoreMemory(*told["memory"]) if told["memory"] else None
        for shard, replicas in told["replicas"].items():
            self._note_replicas(int(shard), replicas)
        self._found({})

    async def _write(self, _: BatchTrace) -> None:
        with suppressed():
            found = await self._try_all()
            if all(error is not None and outage_code(error) == "SHARDGONE" for error in found):
                await self._shards.prepare()  # somebody emptied the store: it is a new one, and says so
                found = await self._try_all()
            danger = self._lost_log() or await self._unsafe()
        self._ended = self._clock()
        found = [error or danger for error in found]
        self._found({shard: error for shard, error in zip(self._shards, found, strict=True) if error})
        if len(self._failed) == self._shards.count:
            raise next(iter(self._failed.values()))

    async def _try_all(self) -> list[Exception | None]:
        """Write to every shard; one that was silent the last time is asked beside, so that no other waits for it."""
        asked = [shard for shard in self._shards if shard not in self._shards.silent]
        found: dict[int, Exception | None] = dict(zip(asked, await asyncio.gather(*map(self._try, asked)), strict=True))
        for shard in self._shards.silent:
            probe = self._probes.get(shard)
            found[shard] = self._failed[shard]
            if probe is not None and probe.done():
                found[shard], probe = probe.result(), None
            if probe is None and found[shard] is not None:
                self._probes[shard] = asyncio.create_task(self._try(shard))
            elif probe is None:
                del self._probes[shard]
        return [found[shard] for shard in self._shards]

    async def _unsafe(self) -> Exception | None:
        """Say whether the store may lose what it takes, as looked at once in `LOOK_SECONDS`."""
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_SECONDS
            try:
                self._memory = await look_again(self._shards.client)
                self._danger = None
            except StoreUnsafe as error:
                self._danger = error
            except STORE_ERRORS:
                self._memory = None
        return self._danger

    def _lost_log(self) -> Exception | None:
        """Say whether the files of a store on this machine are gone: it would take writes and lose all at its end."""
        trouble = self._data_dir and trouble_of(self._data_dir)
        return StoreUnsafe(*trouble) if trouble and trouble.reason == GONE else None

    async def _try(self, shard: int) -> Exception | None:
        try:
            async with within(self._timeout):
                await self._shards.run("beat", shard, "1" if shard in self._known else "")
                self._known.add(shard)
                if self._shards.replicas_wait_seconds:
                    replicas = await online_replicas(self._shards.client, keys.synced(shard, self._shards.prefix))
                    self._note_replicas(shard, replicas)
        except STORE_ERRORS as error:
            return error
        return None

    def _note_replicas(self, shard: int, replicas: int) -> None:
        self._replicas[shard] = replicas
        self._shards.replicas.setdefault(shard, ReplicaCount()).note(self._clock(), replicas)

    def _found(self, failed: dict[int, Exception]) -> None:
        if failed and self._data_dir and (trouble := trouble_of(self._data_dir)):
            failed = dict.fromkeys(failed, StoreUnsafe(*trouble))  # says more than that nobody answers
        before, self._failed = self._failed, failed
        silent = {shard for shard, error in failed.items() if outage_reason(error) == "timeout"}
        self._shards.failing = frozenset(failed)
        self._shards.silent = frozenset(silent if len(failed) < self._shards.count else ())
        if failed.keys() != before.keys():
            self._tell()

    def _tell(self) -> None:
        if not self._failed:
            self._log.info("the store takes writes again")
            return
        error = next(iter(self._failed.values()))
        self._log.warning(
            "the store takes no writes", reason=outage_reason(error), shards=self.missing_shards, error=str(error)
        )
