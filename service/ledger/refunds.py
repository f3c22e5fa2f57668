"""Giving back a confirmed order, whole or in part; the money follows by the workers, see `service.orders.refunds`."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from service.ledger.once_only import OnceOnly, begin_once
from service.ledger.orders import Order, shard_of_order
from service.store import Shards


class RefundResult(StrEnum):
    """What the ledger says to a refund; `not_refundable`: not confirmed, or fewer units are left than were named."""

    REFUNDED = "refunded"
    NOT_REFUNDABLE = "not_refundable"
    UNKNOWN_ORDER = "unknown_order"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """What is to be given back of an order: `quantity` units, None for all that are left."""

    order_id: str
    quantity: int | None = None
    return_to_stock: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OwedRefund:
    """A payment to be given back, or `units` of a confirmed order as its refund number `part`; 0 for the whole payment.

    The ticket says when it was handed out.
    """

    key: str
    ticket: str
    order: Order
    part: int = 0
    units: int = 0

    @property
    def payment_key(self) -> str:
        """The key under which it was paid."""
        return self.key.partition(".")[0]

    @property
    def amount(self) -> int:
        """What is to be given back, in minor units."""
        return self.order.unit_price * self.units if self.part else self.order.amount


class RefundAnswer(NamedTuple):
    """The ledger's answer; `order` as it is then, `replayed` says that it was refunded earlier by the same request."""

    result: RefundResult
    order: Order | None
    replayed: bool


async def refund_order(shards: Shards, refund: Refund, once: OnceOnly | None = None) -> RefundAnswer:
    """Book a refund and note the money that is owed, whole or not at all.

    Args:
        shards: The store.
        refund: What is to be given back.
        once: The request that this is, where the caller may send it again.

    Raises:
        redis.exceptions.RedisError: The store is down; the refund may have been booked.
    """
    shard = shard_of_order(refund.order_id)
    request = await begin_once(shards, shard, once)
    if request is None:
        return RefundAnswer(RefundResult.IDEMPOTENCY_CONFLICT, None, replayed=False)
    args = [*request, refund.order_id, "" if refund.quantity is None else refund.quantity]
    args += ["1" if refund.return_to_stock else "", refund.reason]
    result, *rest = await shards.run("refund", shard, *args)
    order = Order.from_row(rest[0]) if rest else None
    return RefundAnswer(RefundResult(result), order, replayed=rest[1:] == [1])
