"""The order worker: reads the queue in batches, hands each order to `processing`, gives back what it cannot finish.

An entry stays in this consumer's pending list until its order is settled, so a crash loses nothing: a consumer
whose heartbeat stops is relieved of its entries by the others. A reply that was lost left its entries in this
consumer's own pending list, so the worker looks into it after an error of the store, and once every silence: the client
sends a call again by itself when its connection broke, and then there is no error.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import count
from time import monotonic

import structlog
from opentelemetry.trace import Link, SpanKind, Tracer, get_current_span

from service.background import every
from service.cancellation import cancel_and_wait
from service.ledger.ledger import BeginResult, Entry, Ledger
from service.orders.concurrency import ConcurrencyLimit
from service.orders.processing import Processor
from service.store import STORE_ERRORS, BatchTrace
from telemetry import consumer_context, is_sampled

BLOCK = timedelta(seconds=1)
MAX_BATCH = 128
LOOK_AGAIN_SECONDS = 1.0
PAUSE_SECONDS = 0.25
BEATS = 5
"""Heartbeats before a silence is over."""


def new_consumer(slot: str) -> str:
    """Make a name that no other worker has or had."""
    return f"{slot}.{secrets.token_hex(4)}"


class Worker:
    """One consumer of every shard's queue.

    Args:
        ledger: The ledger; its store can block for `BLOCK` on top of the time it waits for an answer.
        processor: What is done with an order.
        tracer: Makes the span of a batch.
        consumer: This worker's name in the queue.
        limit: Orders in hand at one time.
        silence: After how long without a heartbeat another consumer counts as dead.
    """

    def __init__(
        self,
        ledger: Ledger,
        processor: Processor,
        tracer: Tracer,
        *,
        consumer: str,
        limit: ConcurrencyLimit,
        silence: timedelta = timedelta(seconds=5),
    ) -> None:
        self._ledger = ledger
        self._processor = processor
        self._tracer = tracer
        self.consumer = consumer
        self._limit = limit
        self._silence = silence
        self._in_flight: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._starting: set[tuple[int, str]] = set()
        self._freed = asyncio.Event()
        self._progressed = monotonic()
        self._reread_pending = dict.fromkeys(ledger.shards, True)
        self._log = structlog.get_logger("service.orders.worker").bind(consumer=consumer)

    @property
    def in_flight(self) -> int:
        """Orders that are being processed."""
        return len(self._in_flight)

    def progress_age_seconds(self) -> float:
        """Time since an attempt at an order ended, or a reading found nothing to do."""
        return monotonic() - self._progressed

    async def run(self, stop: asyncio.Event, grace: timedelta) -> None:
        """Work until `stop` is set; then finish what was begun, for at most `grace`, and leave the rest queued."""
        loops = [asyncio.create_task(self._read_on(shard)) for shard in self._ledger.shards]
        beats = [asyncio.create_task(self._beat(shard)) for shard in self._ledger.shards]
        ended = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([ended, *loops, *beats], return_when=asyncio.FIRST_COMPLETED)
        await cancel_and_wait(loops)
        if self._in_flight:
            await asyncio.wait(self._in_flight.values(), timeout=grace.total_seconds())
        await cancel_and_wait([*beats, *self._in_flight.values(), ended])
        await self._leave()
        for task in done - {ended}:
            task.result()

    async def _read_on(self, shard: int) -> None:
        down = False
        while True:
            try:
                if await self._has_room():
                    entries = await self._read(shard)
                    await self._take(shard, entries)
                    if not self._under_way():
                        self._progressed = monotonic()
                if down:
                    self._log.info("the store answers again")
                down = False
            except STORE_ERRORS as error:
                self._reread_pending[shard] = True
                if not down:
                    self._log.warning("the queue cannot be read", shard=shard, error=str(error))
                down = True
                await asyncio.sleep(PAUSE_SECONDS)

    def _under_way(self) -> int:
        """Count the orders that take up room; those of a shard that is down wait for it, and hold up no other shard."""
        down = self._ledger.shards.failing
        if not down or len(down) == self._ledger.shards.count:
            return len(self._in_flight)
        return sum(shard not in down for shard, _ in self._in_flight)

    async def _has_room(self) -> bool:
        if self._under_way() < self._limit.value:
            return True
        self._freed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_SECONDS):  # a shard may have gone down, and takes up no room then
                await self._freed.wait()
        return False

    async def _read(self, shard: int) -> list[Entry]:
        room = min(self._limit.value - self._under_way(), MAX_BATCH)
        if self._reread_pending[shard]:
            self._reread_pending[shard] = False  # first: a heartbeat that fails meanwhile asks for another look
            own = await self._ledger.delivered(shard, self.consumer, self._limit.ceiling + MAX_BATCH)
            missed = [entry for entry in own if not self._has(shard, entry)]
            if missed:
                return missed
        return await self._ledger.deliver(shard, self.consumer, room, BLOCK)

    async def _take(self, shard: int, entries: Sequence[Entry]) -> None:
        """Begin a batch, and process each order of it in a task of its own.

        What was taken over may also be found in this consumer's pending list: begun twice it would lose an attempt.
        """
        entries = [entry for entry in entries if not self._has(shard, entry)]
        if not entries:
            return
        taken = {(shard, entry.entry_id) for entry in entries}
        self._starting |= taken
        try:
            await self._begin(shard, entries)
        finally:
            self._starting -= taken

    def _has(self, shard: int, entry: Entry) -> bool:
        return (shard, entry.entry_id) in self._in_flight or (shard, entry.entry_id) in self._starting

    async def _begin(self, shard: int, entries: Sequence[Entry]) -> None:
        recorded = [entry.traceparent for entry in entries if is_sampled(entry.traceparent)]
        trace = BatchTrace.by(get_current_span(consumer_context(traceparent)) for traceparent in recorded)
        with self._tracer.start_as_current_span(
            "receive flash_sale.orders",
            context=trace.context,
            kind=SpanKind.CLIENT,
            links=[Link(context) for context in trace.links],
            attributes={
                "messaging.system": "redis",
                "messaging.operation.name": "receive",
                "messaging.destination.name": "flash_sale.orders",
                "messaging.batch.message_count": len(entries),
            },
        ) as batch:
            begun = await self._ledger.begin(shard, entries)
        for entry, result in zip(entries, begun, strict=True):
            if result.result is BeginResult.GONE:
                continue
            task = asyncio.create_task(self._processor.process(shard, entry, result, batch.get_span_context()))
            self._in_flight[shard, entry.entry_id] = task
            task.add_done_callback(partial(self._finished, (shard, entry.entry_id)))

    def _finished(self, key: tuple[int, str], task: asyncio.Task[None]) -> None:
        self._in_flight.pop(key, None)
        self._progressed = monotonic()
        self._freed.set()
        if not task.cancelled() and (error := task.exception()):
            self._log.error("an order could not be processed", exc_info=error)
            self._reread_pending[key[0]] = True

    async def _beat(self, shard: int) -> None:
        """Say that this consumer is alive, and take over from those that are silent."""
        beats = count(1)

        async def beat() -> None:
            if next(beats) % BEATS == 0:
                self._reread_pending[shard] = True
            room = max(self._limit.value - self._under_way(), 0)
            taken = await self._ledger.reclaim(shard, self.consumer, self._silence, room)
            if taken:
                self._log.warning("took over from a silent worker", shard=shard, orders=len(taken))
                await self._take(shard, taken)

        def lost(_: Exception) -> None:
            self._reread_pending[shard] = True

        await every(self._silence.total_seconds() / BEATS, beat, outage=STORE_ERRORS, on_outage=lost)

    async def _leave(self) -> None:
        await asyncio.gather(*map(self._leave_shard, self._ledger.shards))

    async def _leave_shard(self, shard: int) -> None:
        try:
            left = await self._ledger.leave(shard, self.consumer)
        except STORE_ERRORS as error:
            self._log.warning("could not leave the queue", shard=shard, error=str(error))
            return
        if left:
            self._log.info("orders are left to the next worker", shard=shard)
