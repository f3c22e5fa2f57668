"""What a product is, as the ledger keeps it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha1
from typing import Self

from service.ledger.orders import at
from service.store import keys

ROW = (
    *("product", "name", "price", "currency", "initial", "restocked", "stock", "held", "sold", "limit", "opens"),
    *("closes", "archived", "halted", "admission", "given", "turn"),
)
"""What the values of a product's row are, see `product_row` in `_products.lua`.

Said once and not in each row: with names, `products` holds the store half as long again (1 000: 15 ms, not 10).
"""


BY_TICKET = "ticket"
"""A product's `admission` when it is sold by ticket."""


class SaleState(StrEnum):
    """How the sale of a product stands: the first of these that is so, but `open`, which is none of them."""

    ARCHIVED = "archived"
    NOT_OPEN = "not_open"
    CLOSED = "closed"
    PAUSED = "paused"
    SOLD_OUT = "sold_out"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product and its units. Price in minor units of `currency`; `stock` is what is left to sell.

    `archived` are the units sold whose orders were forgotten after their retention.
    """

    product_id: str
    name: str
    price: int
    currency: str
    initial_stock: int
    restocked: int
    stock: int
    held: int
    sold: int
    per_user_limit: int | None
    opens_at: datetime
    closes_at: datetime | None
    archived: int = 0
    always_open: bool = False
    """Put on sale without a time to open at: `opens_at` is when that was, and decides nothing."""
    halted: str = ""
    """Why nobody may buy it whatever the time: `paused` or `archived`; else empty."""
    by_ticket: bool = False
    """Whether only who has a ticket may order, and only when the ticket's turn has come."""
    tickets_given: int = 0
    """Of the present lot."""
    tickets_admitted: int | None = None
    """How many of them have had their turn, as far as anybody has asked; None until the lot is drawn."""

    @property
    def is_paused(self) -> bool:
        """Whether the merchant has paused the sale."""
        return self.halted == SaleState.PAUSED

    @property
    def is_archived(self) -> bool:
        """Whether it is no longer offered; its units and orders stay in the books."""
        return self.halted == SaleState.ARCHIVED

    @property
    def drift(self) -> int:
        """Units that the books cannot explain: 0, or the ledger is broken."""
        return self.initial_stock + self.restocked - self.stock - self.held - self.sold

    @property
    def revision(self) -> str:
        """A word that changes with whatever the merchant may set, and not with what is held or sold.

        The ledger compares it with its own, see `revision` in `_products.lua`.
        """
        opens, closes = [
            "" if time is None else str(round(time.timestamp() * 1000)) for time in (self.opens_at, self.closes_at)
        ]
        times = (f"-{opens}" if self.always_open else opens, closes)
        limit = "" if self.per_user_limit is None else str(self.per_user_limit)
        total = str(self.initial_stock + self.restocked)
        parts = [self.name, str(self.price), self.currency, total, limit, *times, self.halted]
        return sha1("\0".join(parts + [BY_TICKET] * self.by_ticket).encode(), usedforsecurity=False).hexdigest()[:20]

    def is_open(self, now: datetime) -> bool:
        """Whether the sale window is open at `now`."""
        return (self.always_open or self.opens_at <= now) and (self.closes_at is None or now < self.closes_at)

    def state(self, now: datetime) -> SaleState:
        """Return how the sale stands at `now`, in the order in which `place.lua` refuses."""
        if self.is_archived:
            return SaleState.ARCHIVED
        if not self.is_open(now):
            closed = self.closes_at is not None and now >= self.closes_at
            return SaleState.CLOSED if closed else SaleState.NOT_OPEN
        if self.is_paused:
            return SaleState.PAUSED
        return SaleState.OPEN if self.stock > 0 else SaleState.SOLD_OUT

    @classmethod
    def from_row(cls, row: list[str]) -> Self:
        """Read what `product_row` in `_products.lua` returns."""
        # An answer that is kept for who sends a request again may be of before there were tickets.
        value = dict.fromkeys(ROW, "") | dict(zip(ROW, row, strict=len(row) >= len(ROW)))
        return cls(
            product_id=keys.unescape(value["product"]),
            name=value["name"],
            price=int(value["price"]),
            currency=value["currency"],
            initial_stock=int(value["initial"]),
            restocked=int(value["restocked"]),
            stock=int(value["stock"]),
            held=int(value["held"]),
            sold=int(value["sold"]),
            per_user_limit=int(value["limit"]) if value["limit"] else None,
            opens_at=at(value["opens"].lstrip("-")),
            closes_at=at(value["closes"]) if value["closes"] else None,
            archived=int(value["archived"]),
            always_open=value["opens"].startswith("-"),
            halted=value["halted"],
            by_ticket=value["admission"] == BY_TICKET,
            tickets_given=int(value["given"] or 0),
            tickets_admitted=min(int(value["turn"]), int(value["given"])) if value["turn"] else None,
        )
