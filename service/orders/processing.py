"""What is done with one order in hand: it is charged, and settled or put aside by what comes of it.

Whatever the payment says, the order is ended by `ledger.settle` or put aside by `ledger.defer`. A store that is
down is waited for: the payment's answer is kept, and if this process dies meanwhile the payment is asked again
under the same key. A payment for an order that can no longer be confirmed is noted in the ledger, and `refunds` gives
it back.
"""

import asyncio
import random
from datetime import timedelta

import structlog
from opentelemetry.trace import SpanContext, Tracer

from service.ledger.ledger import (
    BeginResult,
    Begun,
    DeferResult,
    Entry,
    Ledger,
    Retry,
    Settled,
    Settlement,
    SettleResult,
)
from service.ledger.orders import Order, Status
from service.metrics import ORDER_DURATION, ORDER_PROCESSING, ORDER_WAIT
from service.orders.charges import Charges, Unsettled
from service.store import STORE_ERRORS, ShardBatcher
from telemetry import Telemetry, consumer_span

STORE_PAUSE_SECONDS = 0.25
MAX_BACKOFF = timedelta(minutes=1)
MAX_BATCH = 128


class Processor:
    """Processes orders for one worker.

    Args:
        ledger: The ledger.
        charges: Who collects the money.
        telemetry: Where the times of orders are recorded.
        retry: The pause before the second attempt; it doubles from attempt to attempt.
    """

    def __init__(self, ledger: Ledger, charges: Charges, telemetry: Telemetry, *, retry: timedelta) -> None:
        self._ledger = ledger
        self._charges = charges
        self._retry = retry
        self._tracer: Tracer = telemetry.tracer(__name__)
        self._wait = telemetry.histogram(ORDER_WAIT)
        self._processing = telemetry.histogram(ORDER_PROCESSING)
        self._duration = telemetry.histogram(ORDER_DURATION)
        self._settlements = ShardBatcher(ledger.shards, ledger.settle, limit=MAX_BATCH)
        self._log = structlog.get_logger("service.orders.processing")

    async def process(self, shard: int, entry: Entry, begun: Begun, batch: SpanContext) -> None:
        """Process one order that was begun, or look after one that was given up."""
        order = begun.order
        if order is None:
            return
        with consumer_span(
            self._tracer,
            "process flash_sale.orders",
            traceparent=entry.traceparent,
            links=[batch],
            attributes={
                "messaging.system": "redis",
                "messaging.operation.name": "process",
                "messaging.destination.name": "flash_sale.orders",
                "messaging.message.id": entry.entry_id,
                "flash_sale.order_id": order.order_id,
                "flash_sale.product_id": order.product_id,
                "flash_sale.order.attempt": order.attempts,
            },
        ) as span:
            if begun.result is BeginResult.DEAD:
                self._dead_letter(order, "too_many_attempts")
                return
            if begun.wait is not None:
                self._wait.record(begun.wait.total_seconds())
            status = await self._charge_and_settle(shard, order)
            span.set_attribute("flash_sale.order.status", status)

    async def _charge_and_settle(self, shard: int, order: Order) -> str:
        answer = await self._charges.charge(order)
        if isinstance(answer, Unsettled):
            return await self._defer(shard, order, answer)
        settled = await self._settle(shard, answer)
        if answer.payment_id and settled.result not in {SettleResult.SETTLED, SettleResult.REPEATED}:
            self._log.warning(
                "a payment came too late",
                order_id=order.order_id,
                payment_id=answer.payment_id,
                status=settled.status,
                result=settled.result,
            )
        return settled.status

    async def _settle(self, shard: int, settlement: Settlement) -> Settled:
        """End the order, however long the store takes to come back."""
        while True:
            try:
                settled = await self._settlements.submit(shard, settlement)
            except STORE_ERRORS:
                await asyncio.sleep(STORE_PAUSE_SECONDS)
                continue
            if settled.result is SettleResult.SETTLED:
                self._processing.record(settled.since_begun.total_seconds())
                self._duration.record(settled.since_accepted.total_seconds())
            return settled

    async def _defer(self, shard: int, order: Order, answer: Unsettled) -> str:
        retry = Retry(order.order_id, max(self._backoff(order.attempts), answer.not_before), answer.reason)
        while True:
            try:
                (result,) = await self._ledger.defer(shard, [retry])
            except STORE_ERRORS:
                await asyncio.sleep(STORE_PAUSE_SECONDS)
                continue
            break
        if result is DeferResult.DEAD:
            self._dead_letter(order, answer.reason)
            return Status.FAILED
        self._log.warning(
            "an order is tried again later", order_id=order.order_id, reason=answer.reason, attempt=order.attempts
        )
        return Status.PROCESSING

    def _dead_letter(self, order: Order, reason: str) -> None:
        self._log.error(
            "an order became a dead letter", order_id=order.order_id, reason=reason, attempts=order.attempts
        )

    def _backoff(self, attempts: int) -> timedelta:
        """Double from attempt to attempt, with a quarter of jitter so that orders do not return in step."""
        pause = min(self._retry * 2 ** min(attempts - 1, 16), MAX_BACKOFF)
        jittered: timedelta = pause * random.uniform(0.75, 1.25)
        return jittered
