"""The sold-out cache: what this process may refuse from memory, because the ledger said that nothing is left.

A mark holds for `LIFETIME_SECONDS` from before the ledger was asked, so units that return are on sale in every process
within that time whatever happens; a product that stays sold out is marked anew by each snapshot and by each answer.
It is used only while the sale is surely open, and neither paused nor archived as far as is known, so that a refusal has
the word that the ledger would have used.
"""

from collections.abc import Callable
from datetime import timedelta
from time import monotonic

from service.ledger.products import Product
from service.ledger.snapshot import Snapshot

LIFETIME_SECONDS = 1.0
SECOND = timedelta(seconds=1)
FOR_EVER = float("inf")


class SoldOutCache:
    """The marks of one process; all times are of its own monotonic clock."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._products: dict[str, Product] = {}
        self._read: tuple[Snapshot, float, float] | None = None
        self._told: dict[str, float] = {}
        self._marks: dict[str, tuple[float, float]] = {}

    def __contains__(self, product_id: str) -> bool:
        """Whether the ledger would refuse any order for this product as sold out."""
        mark = self._marks.get(product_id)
        return mark is not None and mark[0] <= self._clock() < mark[1]

    def refresh(self, snapshot: Snapshot, asked: float) -> None:
        """Learn from a snapshot, which was asked for at `asked`."""
        self._read = (snapshot, asked, self._clock())
        self._products = {product.product_id: product for product in snapshot.products}
        for product in snapshot.products:
            if product.halted:
                self._marks.pop(product.product_id, None)
            elif product.stock <= 0 or product.product_id in self._marks:
                self.record(product.product_id, product.stock, asked)

    def record(self, product_id: str, units_left: int, asked: float) -> None:
        """Learn how many units the ledger had left when it was asked at `asked`; news that are older count nothing."""
        if (units_left > 0 and product_id not in self._marks) or asked < self._told.get(product_id, 0.0):
            return
        if product_id not in self._products or self._products[product_id].halted:
            return
        self._told[product_id] = asked
        if units_left > 0:
            del self._marks[product_id]
            return
        opens, closes = self._window(self._products[product_id])
        self._marks[product_id] = (opens, min(closes, asked + LIFETIME_SECONDS))

    def invalidate(self, product_id: str) -> None:
        """Note that units came back through this process: what the ledger was asked before counts nothing any more."""
        self._marks.pop(product_id, None)
        if product_id in self._products:
            self._told[product_id] = self._clock()

    def _window(self, product: Product) -> tuple[float, float]:
        """From when until when the sale is open whichever instant of the reading was the snapshot's."""
        assert self._read is not None  # noqa: S101 - there is no product without a snapshot
        snapshot, asked, received = self._read
        opens = -FOR_EVER if product.always_open else received + (product.opens_at - snapshot.taken_at) / SECOND
        if product.closes_at is None:
            return opens, FOR_EVER
        return opens, asked + (product.closes_at - snapshot.taken_at) / SECOND
