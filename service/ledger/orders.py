"""What an order is, as the ledger keeps it; and the words for what can become of one.

The words are the same in the Lua scripts, here, in the metrics' attributes, in the log and in the answers.

Nobody changes a record that stands for an order, here or in `ledger.py`. They are not frozen all the same: a frozen one
sets each of its fields by a call of its own.
"""

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Self

from service.store import keys


class Status(StrEnum):
    """Where an order stands."""

    PENDING = "pending"
    PROCESSING = "processing"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


ENDS = (Status.CONFIRMED, Status.FAILED, Status.EXPIRED, Status.CANCELLED)
"""How an order ends; a confirmed one may be refunded then."""
COUNTED = (Status.PENDING, *ENDS, Status.REFUNDED)
"""The statuses that the ledger counts orders into; `pending` counts the orders accepted."""


class Outcome(StrEnum):
    """What the ledger says to an order that is placed."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    UNKNOWN_PRODUCT = "unknown_product"
    SALE_NOT_OPEN = "sale_not_open"
    SALE_CLOSED = "sale_closed"
    SALE_PAUSED = "sale_paused"
    LIMIT_EXCEEDED = "limit_exceeded"
    SOLD_OUT = "sold_out"
    TICKET_REQUIRED = "ticket_required"
    TICKET_INVALID = "ticket_invalid"
    NOT_YOUR_TURN = "not_your_turn"
    RATE_LIMITED = "rate_limited"
    STORE_UNAVAILABLE = "store_unavailable"


class Cancellation(StrEnum):
    """What the ledger says to a cancellation."""

    CANCELLED = "cancelled"
    NOT_CANCELLABLE = "not_cancellable"
    UNKNOWN_ORDER = "unknown_order"


_BITS_AT_ONCE = 64 * 64
ORDER_ID = r"^[0-9]{2}[0-9a-f]{28}$"


def new_order_id(shard: int, random: str = "") -> str:
    """30 characters: the shard in two digits, milliseconds of the epoch in 12, and 64 random bits, drawn or given."""
    return f"{shard:02d}{time.time_ns() // 1_000_000:012x}{random or secrets.token_hex(8)}"


class RandomBits:
    """Random bits for ids, drawn from the system for many of them at once.

    Never made before a process is forked: its children would have the same.
    """

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def next(self) -> str:
        """Return 64 of them in 16 characters."""
        if not self._drawn:
            drawn = secrets.token_hex(_BITS_AT_ONCE // 8)
            self._drawn = [drawn[at : at + 16] for at in range(0, len(drawn), 16)]
        return self._drawn.pop()


def shard_of_order(order_id: str) -> int:
    """Return the shard that an order id carries."""
    return int(order_id[:2])


@lru_cache(maxsize=256)  # the orders of one call were accepted at one time
def at(milliseconds: str | int) -> datetime:
    """Return a point in time from milliseconds of the epoch."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


@dataclass(slots=True, kw_only=True)
class NewOrder:
    """An order to be placed. `digest` and `fingerprint` are empty without an idempotency key.

    `reference` is the merchant's, `payment_token` the shopper's; what they mean is not for us to know.
    """

    order_id: str
    product_id: str
    user_id: str
    quantity: int
    digest: str = ""
    fingerprint: str = ""
    traceparent: str = ""
    reference: str = ""
    payment_token: str = field(default="", repr=False)
    ticket: str = ""
    """What `place` is told of the ticket, see `SaleTickets.checked`."""


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Order:
    """An order in the ledger. Money in minor units of `currency`."""

    order_id: str
    status: Status
    product_id: str
    user_id: str
    quantity: int
    unit_price: int
    currency: str
    accepted_at: datetime
    expires_at: datetime
    queue_position: int
    estimated_wait_seconds: float
    attempts: int
    settled_at: datetime | None
    reason: str | None
    payment_id: str | None
    generation: int
    reference: str | None = None
    refunded_quantity: int = 0
    returned_quantity: int = 0
    """Those of the refunded units that are on sale again."""
    payment_token: str = field(default="", repr=False)
    """What it is paid with: told to the worker that begins the order, and to nobody else."""

    @property
    def amount(self) -> int:
        """What the whole order costs, in minor units."""
        return self.unit_price * self.quantity

    @property
    def payment_key(self) -> str:
        """The idempotency key of the order's payment; an order that was requeued pays under a new one."""
        return f"{self.order_id}-{self.generation}" if self.generation else self.order_id

    @classmethod
    def accepted(
        cls, new: NewOrder, accepted: int, expires: int, position: int, eta: int, unit_price: int, currency: str
    ) -> Self:
        """Return an order that `place.lua` has just accepted, of what it adds; times in milliseconds."""
        return cls(
            order_id=new.order_id,
            status=Status.PENDING,
            product_id=new.product_id,
            user_id=new.user_id,
            quantity=new.quantity,
            unit_price=unit_price,
            currency=currency,
            accepted_at=at(accepted),
            expires_at=at(expires),
            queue_position=position,
            estimated_wait_seconds=eta / 1000,
            attempts=0,
            settled_at=None,
            reason=None,
            payment_id=None,
            generation=0,
            reference=new.reference or None,
        )

    @classmethod
    def from_row(cls, row: list[str], payment_token: str = "") -> Self:
        """Read what `order_row` in `_orders.lua` returns."""
        (order_id, status, product, user, quantity, price, currency, accepted, expires, position, eta) = row[:11]
        attempts, settled, reason, payment, generation, reference, refunded, returned = row[11:]
        return cls(
            order_id=order_id,
            status=Status(status),
            product_id=keys.unescape(product),
            user_id=keys.unescape(user),
            quantity=int(quantity),
            unit_price=int(price),
            currency=currency,
            accepted_at=at(accepted),
            expires_at=at(expires),
            queue_position=int(position),
            estimated_wait_seconds=int(eta) / 1000,
            attempts=int(attempts or 0),
            settled_at=at(settled) if int(settled or 0) else None,
            reason=reason or None,
            payment_id=payment or None,
            generation=int(generation or 0),
            reference=reference or None,
            refunded_quantity=int(refunded),
            returned_quantity=int(returned),
            payment_token=payment_token,
        )


@dataclass(slots=True)
class Placement:
    """The answer to one order; `order` is set when it was accepted or replayed. `counted`: the ledger counted it.

    `units_left` tells the stock where the outcome is accepted or sold out; -1 when it was not looked at.
    `retry_after` is set where the user has cancelled too much, or the turn of the user's ticket has not come.
    """

    outcome: Outcome
    units_left: int
    order: Order | None
    counted: bool = True
    retry_after: timedelta | None = None


class FoundOrders(list[Order]):
    """Orders of every shard that answered; `missing_shards` are the others; None where there is one shard."""

    def __init__(self, orders: Iterable[Order] = (), missing_shards: tuple[int, ...] | None = None) -> None:
        super().__init__(orders)
        self.missing_shards = missing_shards
