"""Somebody who follows the feed of order changes beside a model, and holds it against the model and the store."""

from service.ledger.feed import Change, Cursor, Feed
from service.ledger.orders import Status
from tests.orders.model import Model
from tests.orders.sale import Sale

States = dict[str, tuple[str, int, int]]


def states(model: Model) -> States:
    """Return what a change of an order changes."""
    return {name: (order.status, order.generation, len(order.parts)) for name, order in model.orders.items()}


def changes(before: States, after: States) -> list[tuple[str, str]]:
    """Return the orders that changed by one step, and the types of their changes."""
    found = []
    for name, (status, generation, parts) in after.items():
        was = before.get(name, ("", -1, 0))
        if generation > was[1]:
            found.append((name, "pending"))
        elif parts > was[2]:
            found.append((name, "refunded"))
        elif status not in (was[0], "processing"):
            found.append((name, status))
    return sorted(found)


class FeedWitness:
    """Reads the feed to its end after each step, a few changes at a time, and remembers all that it was told."""

    def __init__(self, sale: Sale, size: int = 3) -> None:
        self._sale = sale
        self._feed = Feed(sale.shards)
        self._size = size
        self._cursor: Cursor | None = None
        self.told: list[Change] = []

    async def read(self, after: Cursor | None = None) -> list[Change]:
        """Read from a cursor, or the oldest, to the end."""
        found: list[Change] = []
        while True:
            page = await self._feed.read(after, self._size)
            assert len(page.changes) <= self._size
            found += page.changes
            after = Cursor.parse(str(page.end))
            assert after == page.end
            if page.complete:
                self._cursor = after
                return found

    async def compare(self, expected: list[tuple[str, str]]) -> None:
        """Hear what is new: these changes and no other, each with the order as it is at this moment.

        Where nothing is expected nothing is read: what was invented is heard the next time, or at the end.
        """
        if not expected:
            return
        new = await self.read(self._cursor)
        assert sorted((change.order.order_id, change.type.value) for change in new) == expected
        for change in new:
            assert change.order == await self._sale.ledger.order(change.order.order_id)
            assert change.order.status == (change.type if change.type != Status.REFUNDED else change.order.status), (
                "the order as it was"
            )
        self.told += new

    async def hear_again(self) -> None:
        """Hear all that is kept once more: it is the end of what was told, though the orders are others now."""
        again = await self.read()
        assert again == self.told[len(self.told) - len(again) :]
        ids = [change.event_id for change in self.told]
        assert len(set(ids)) == len(ids)
