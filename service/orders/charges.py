"""Charges: the money of an order is asked of the payment gateway, and what its answer means to the order."""

from datetime import timedelta
from typing import Literal, NamedTuple

import structlog

from service.ledger.ledger import Settlement
from service.ledger.orders import Order, Status
from service.metrics import CHARGES
from service.orders.concurrency import ConcurrencyLimit
from service.orders.payments import (
    Charge,
    Declined,
    PaymentGateway,
    PaymentRejected,
    PaymentTimedOut,
    PaymentUnavailable,
    Receipt,
)
from telemetry import Telemetry

MAX_RETRY_AFTER = timedelta(minutes=5)
"""The longest pause that a gateway may ask for: an order that is put aside for longer is held for nobody."""


class Unsettled(NamedTuple):
    """No outcome is known: the charge is asked again, not before `not_before` from now."""

    reason: str
    not_before: timedelta = timedelta()


class Charges:
    """Charges orders for one worker, and counts what the gateway answers; tells `limit` how its answers come."""

    def __init__(self, gateway: PaymentGateway, telemetry: Telemetry, limit: ConcurrencyLimit) -> None:
        self._gateway = gateway
        self._limit = limit
        self._count = telemetry.counter(CHARGES)
        self._log = structlog.get_logger("service.orders.charges")

    async def charge(self, order: Order) -> Settlement | Unsettled:
        """Collect what an order costs, once per generation; whatever the gateway does, there is an answer."""
        try:
            answer = await self._ask(charge_of(order, order.payment_key))
        except PaymentUnavailable as error:
            self._count.add(1, {"result": "unavailable"})
            return Unsettled(error.code, min(error.retry_after or timedelta(), MAX_RETRY_AFTER))
        except PaymentRejected as error:
            self._count.add(1, {"result": "rejected"})
            self._log.error("the gateway calls a payment wrong", order_id=order.order_id, error=str(error))
            # An earlier try may have gone through without our knowing.
            return _settlement(order, Status.FAILED, reason=error.code, maybe_captured=True)
        except Exception:  # noqa: BLE001 - a defect in a gateway must not end the worker
            self._count.add(1, {"result": "failed"})
            self._log.exception("a payment could not be made", order_id=order.order_id)
            return Unsettled("internal_error")
        if isinstance(answer, Declined):
            self._count.add(1, {"result": "declined"})
            # A refusal is about this request: one before it that had no answer may have collected the money.
            maybe_captured = answer.maybe_captured or order.attempts > 1
            return _settlement(order, Status.FAILED, reason=answer.reason or "declined", maybe_captured=maybe_captured)
        self._count.add(1, {"result": "captured"})
        return _settlement(order, Status.CONFIRMED, payment_id=answer.payment_id)

    async def _ask(self, charge: Charge) -> Receipt | Declined:
        begun = self._limit.begin()
        in_time = True
        try:
            return await self._gateway.charge(charge)
        except PaymentTimedOut:
            in_time = False
            raise
        finally:
            self._limit.end(begun, in_time=in_time)


def charge_of(order: Order, payment_key: str) -> Charge:
    """Return what one generation of an order was charged, or is to be."""
    return Charge(
        order_id=order.order_id,
        user_id=order.user_id,
        amount=order.amount,
        currency=order.currency,
        key=payment_key,
        reference=order.reference,
        payment_token=order.payment_token,
    )


def _settlement(
    order: Order,
    status: Literal[Status.CONFIRMED, Status.FAILED],
    *,
    reason: str = "",
    payment_id: str = "",
    maybe_captured: bool = False,
) -> Settlement:
    return Settlement(order.order_id, status, reason, payment_id, order.generation, maybe_captured)
