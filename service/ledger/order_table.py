"""Many orders in little memory: each stays the row that the store sent, and is read when it is asked for.

A row of `dump.lua` takes a fraction of what an `Order` takes, or a reply that has its values one by one; so an audit
fits beside a worker.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from service.ledger.orders import Order, Status

LIVE = (Status.PENDING, Status.PROCESSING)
BOUGHT = (Status.CONFIRMED, Status.REFUNDED)


@dataclass(frozen=True, slots=True)
class Sums:
    """What many orders come to."""

    held: Counter[str] = field(default_factory=Counter)
    """Units of live orders, by product."""
    sold: Counter[str] = field(default_factory=Counter)
    """Units that were bought and did not return, by product."""
    units: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Units that a product's buyer holds or bought and that were not refunded."""
    earned: Counter[str] = field(default_factory=Counter)
    """Minor units, by currency."""
    statuses: Counter[Status] = field(default_factory=Counter)
    live: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)

    def add(self, order: Order) -> None:
        """Count an order."""
        self.statuses[order.status] += 1
        if order.status in LIVE:
            self.live.add(order.order_id)
            self.held[order.product_id] += order.quantity
            if order.status is Status.PENDING:
                self.pending.add(order.order_id)
        elif order.status in BOUGHT:
            self.sold[order.product_id] += order.quantity - order.returned_quantity
            self.earned[order.currency] += order.unit_price * (order.quantity - order.refunded_quantity)
        else:
            return
        self.units[order.product_id, order.user_id] += order.quantity - order.refunded_quantity


class OrderTable(Mapping[str, Order]):
    """Orders by id, from the rows of `dump.lua`; an order that is there twice counts once."""

    def __init__(self, rows: Iterable[str] = ()) -> None:
        self._rows = {row[2 : row.index('"', 2)]: row for row in rows}  # `["ID",...`

    def __getitem__(self, order_id: str) -> Order:
        return Order.from_row(values(self._rows[order_id]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, order_id: object) -> bool:
        return order_id in self._rows

    @cached_property
    def sums(self) -> Sums:
        """What they come to; each is read once for it."""
        sums = Sums()
        for order in self.values():
            sums.add(order)
        return sums

    def __repr__(self) -> str:
        return f"<OrderTable: {len(self)} orders>"


def values(row: str) -> list[Any]:
    """Return what a row says, in the order of `Order.from_row`."""
    told: list[Any] = json.loads(row)
    return told
