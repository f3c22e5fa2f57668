"""What is done with one order in hand: payment, and the verdict that follows from it.

Whatever the payment says, the order is ended by `ledger.settle` or put aside by `ledger.defer`. A store that is
down is waited for: the payment's answer is kept, and if this process dies meanwhile the payment is asked again
under the same key. A payment for an order that can no longer be confirmed is noted in the ledger, and `refunds` gives
it back.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from opentelemetry.trace import Span, SpanContext, Tracer, get_current_span

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
from service.metrics import CHARGES, ORDER_DURATION, ORDER_PROCESSING, ORDER_WAIT
from service.orders.payments import Declined, PaymentGateway, PaymentRejected, PaymentUnavailable
from service.orders.refunds import charge_of
from service.store import STORE_ERRORS, Batcher, BatchTrace
from telemetry import Telemetry, consumer_span

STORE_PAUSE_SECONDS = 0.25
MAX_BACKOFF = timedelta(minutes=1)
MAX_BATCH = 128


@dataclass(frozen=True, slots=True)
class _Item:
    settlement: Settlement
    span: Span


class Processor:
    """Processes orders for one worker.

    Args:
        ledger: The ledger.
        gateway: Who collects the money.
        telemetry: Where the times of orders are recorded.
        retry: The pause before the second attempt; it doubles from attempt to attempt.
    """

    def __init__(self, ledger: Ledger, gateway: PaymentGateway, telemetry: Telemetry, *, retry: timedelta) -> None:
        self._ledger = ledger
        self._gateway = gateway
        self._retry = retry
        self._tracer: Tracer = telemetry.tracer(__name__)
        self._wait = telemetry.histogram(ORDER_WAIT)
        self._processing = telemetry.histogram(ORDER_PROCESSING)
        self._duration = telemetry.histogram(ORDER_DURATION)
        self._charges = telemetry.counter(CHARGES)
        self._settlers = [self._settler(shard) for shard in ledger.shards]
        self._log = structlog.get_logger("service.orders.processing")

    async def process(self, shard: int, entry: Entry, begun: Begun, batch: SpanContext) -> None:
        """Processes one order that was begun, or looks after one that was given up."""
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
            status = await self._pay_and_settle(shard, order)
            span.set_attribute("flash_sale.order.status", status)

    async def _pay_and_settle(self, shard: int, order: Order) -> str:
        try:
            answer = await self._gateway.charge(charge_of(order, order.payment_key))
        except PaymentUnavailable as error:
            self._charges.add(1, {"result": "unavailable"})
            return await self._defer(shard, order, error.code, error.retry_after)
        except PaymentRejected as error:
            self._charges.add(1, {"result": "rejected"})
            self._log.error("the gateway calls a payment wrong", order_id=order.order_id, error=str(error))
            # An earlier try may have gone through without our knowing.
            settlement = Settlement(
                order.order_id, Status.FAILED, error.code, generation=order.generation, maybe_captured=True
            )
            return (await self._settle(shard, settlement)).status
        except Exception:  # noqa: BLE001 - a defect in a gateway must not end the worker
            self._charges.add(1, {"result": "failed"})
            self._log.exception("a payment could not be made", order_id=order.order_id)
            return await self._defer(shard, order, "internal_error", None)
        self._charges.add(1, {"result": "declined" if isinstance(answer, Declined) else "captured"})
        if isinstance(answer, Declined):
            settlement = Settlement(
                order.order_id, Status.FAILED, answer.reason or "declined", generation=order.generation
            )
            return (await self._settle(shard, settlement)).status
        settlement = Settlement(
            order.order_id, Status.CONFIRMED, payment_id=answer.payment_id, generation=order.generation
        )
        settled = await self._settle(shard, settlement)
        if settled.result not in {SettleResult.SETTLED, SettleResult.REPEATED}:
            self._log.warning(
                "a payment came too late",
                order_id=order.order_id,
                payment_id=answer.payment_id,
                status=settled.status,
                result=settled.result,
            )
        return settled.status

    async def _settle(self, shard: int, settlement: Settlement) -> Settled:
        """Ends the order, however long the store takes to come back."""
        while True:
            try:
                settled = await self._settlers[shard].submit(_Item(settlement, get_current_span()))
            except STORE_ERRORS:
                await asyncio.sleep(STORE_PAUSE_SECONDS)
                continue
            if settled.result is SettleResult.SETTLED:
                self._processing.record(settled.since_begun.total_seconds())
                self._duration.record(settled.since_accepted.total_seconds())
            return settled

    async def _defer(self, shard: int, order: Order, reason: str, wish: timedelta | None) -> str:
        retry = Retry(order.order_id, max(self._backoff(order.attempts), wish or timedelta()), reason)
        while True:
            try:
                (result,) = await self._ledger.defer(shard, [retry])
            except STORE_ERRORS:
                await asyncio.sleep(STORE_PAUSE_SECONDS)
                continue
            break
        if result is DeferResult.DEAD:
            self._dead_letter(order, reason)
            return Status.FAILED
        self._log.warning(
            "an order is tried again later", order_id=order.order_id, reason=reason, attempt=order.attempts
        )
        return Status.PROCESSING

    def _dead_letter(self, order: Order, reason: str) -> None:
        self._log.error(
            "an order became a dead letter", order_id=order.order_id, reason=reason, attempts=order.attempts
        )

    def _backoff(self, attempts: int) -> timedelta:
        """Doubles from attempt to attempt, with a quarter of jitter so that orders do not return in step."""
        pause = min(self._retry * 2 ** min(attempts - 1, 16), MAX_BACKOFF)
        jittered: timedelta = pause * random.uniform(0.75, 1.25)
        return jittered

    def _settler(self, shard: int) -> Batcher[_Item, Settled]:
        async def send(items: Sequence[_Item]) -> Sequence[Settled]:
            trace = BatchTrace.by(item.span for item in items)
            return await self._ledger.settle(shard, [item.settlement for item in items], trace)

        return Batcher(send, limit=MAX_BATCH)
