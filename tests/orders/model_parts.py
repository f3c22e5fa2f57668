"""What the model of the ledger is made of: a product, and an order."""

from dataclasses import dataclass, field

from service.ledger.orders import NewOrder

LIVE = ("pending", "processing")


@dataclass
class ModelProduct:
    """Units and terms of a product; `refuses` is the outcome of its window, '' when it is open."""

    stock: int
    limit: int | None = None
    refuses: str = ""
    held: int = 0
    sold: int = 0
    restocked: int = 0
    archived: int = 0


@dataclass
class ModelOrder:
    """An order; `entry` is its queue entry once it is delivered, to `owner`."""

    request: NewOrder
    due: bool
    status: str = "pending"
    attempts: int = 0
    generation: int = 0
    entry: str = ""
    owner: str = ""
    call: int = 0
    parts: list[int] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Units that are not refunded."""
        return self.request.quantity - sum(map(abs, self.parts))

    @property
    def kept(self) -> int:
        """Units that did not return to stock."""
        return self.request.quantity - sum(part for part in self.parts if part > 0)
