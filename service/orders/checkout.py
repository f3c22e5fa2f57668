"""Checkout: placing one order for a user, from admission to the ledger's answer."""

from datetime import timedelta
from math import ceil
from typing import NamedTuple

from service.ledger.orders import Order, Outcome, Placement
from service.orders.admission import Admission
from service.orders.placement import OrderPlacer
from service.orders.rate_limits import Headers, RateLimits
from service.problems import Problem


class PlacedOrder(NamedTuple):
    """An order that was placed: now, or by an earlier request with the same idempotency key (`replayed`)."""

    order: Order
    replayed: bool
    limits: Headers
    """What the answer says of the limits on orders."""


class Checkout:
    """What placing an order takes in one process."""

    def __init__(self, admission: Admission, limits: RateLimits, placer: OrderPlacer) -> None:
        self._admission = admission
        self._limits = limits
        self._placer = placer

    async def place_order(
        self,
        *,
        product_id: str,
        user_id: str,
        quantity: int,
        idempotency_key: str | None,
        key_scope: str = "",
        address: str | None = None,
        reference: str = "",
        payment_token: str = "",
        ticket: str = "",
    ) -> PlacedOrder:
        """Place an order for a user.

        Args:
            product_id: What.
            user_id: For whom.
            quantity: How many units.
            idempotency_key: The client's key; the same key and request again give the first order again.
            key_scope: Whose keys these are: keys of different scopes never meet.
            address: Where it comes from; None where that does not matter.
            reference: The merchant's word for the order.
            payment_token: What the shopper pays with; only the gateway is told.
            ticket: What is shown for a sale by ticket; empty: none.

        Raises:
            Problem: It was refused, by admission, a limit or the ledger.
            redis.exceptions.RedisError: The store is down; the order may have been placed.
        """
        with self._admission.admit(product_id, keyed=idempotency_key is not None):
            limits = await self._limits.check(user_id, address) if self._limits else {}
            placement = await self._placer.place(
                product_id=product_id,
                user_id=user_id,
                quantity=quantity,
                idempotency_key=idempotency_key,
                key_scope=key_scope,
                reference=reference,
                payment_token=payment_token,
                ticket=ticket,
            )
        if placement.order is None or placement.outcome not in (Outcome.ACCEPTED, Outcome.REPLAYED):
            raise _refusal(placement, limits)
        return PlacedOrder(placement.order, placement.outcome is Outcome.REPLAYED, limits)


def _refusal(placement: Placement, limits: Headers) -> Problem:
    """Return the problem that a refusal of the ledger is to the caller: they share their word."""
    details = {
        Outcome.SOLD_OUT: f"{placement.units_left} units are left.",
        Outcome.IDEMPOTENCY_CONFLICT: "The key was used for a request that differs from this one.",
        Outcome.TICKET_REQUIRED: "Ask for one with POST /inventory/{product_id}/tickets, and send it as Sale-Ticket.",
        Outcome.RATE_LIMITED: "Too many orders of this user were cancelled.",
        Outcome.STORE_UNAVAILABLE: "What the store holds of this product or user is damaged.",
    }
    wait = placement.retry_after
    if placement.outcome is Outcome.STORE_UNAVAILABLE:
        wait = timedelta(seconds=1)
    headers = limits | ({"Retry-After": str(ceil(wait.total_seconds()))} if wait is not None else {})
    detail = details.get(placement.outcome, "")
    return Problem(placement.outcome.value, detail, headers=headers, counted=placement.counted)
