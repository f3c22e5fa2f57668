"""Orders that somebody outside was told of, and that the ledger does not have: found, and booked as lost."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from service.ledger.orders import at, shard_of_order
from service.store import Shards, is_store_down

STEP = 500
"""Orders that are asked for in one script."""
TIME = slice(2, 14)
"""The digits of an order id that say when it was made, in milliseconds of the epoch."""


@dataclass(slots=True)
class Missing:
    """What became of the orders that were asked for."""

    there: int = 0
    gone: list[str] = field(default_factory=list)
    """Acknowledged, not there, and not booked as lost."""
    booked: list[str] = field(default_factory=list)
    """Not there, and booked as lost."""
    forgotten: int = 0
    """Not there, but old enough to have been forgotten in order."""
    unknown: int = 0
    """In a shard that does not answer, or that this store does not have."""

    @property
    def asked(self) -> int:
        """How many orders it is about."""
        return self.there + len(self.gone) + len(self.booked) + self.forgotten + self.unknown


async def find_missing(
    shards: Shards, order_ids: Iterable[str], *, forgotten_before: datetime | None = None, book: bool = False
) -> Missing:
    """Ask the ledger for orders, and count those that are gone as lost if told to, each once.

    Args:
        shards: The store.
        order_ids: Well-formed ids of orders.
        forgotten_before: What was made before may have been forgotten after its retention; None where nothing is.
        book: Whether what is gone is booked as lost (`flash_sale_orders_lost_total`).

    Raises:
        redis.exceptions.RedisError: The store refused.
    """
    found = Missing()
    for shard, ids in _by_shard(order_ids).items():
        old = [one for one in ids if forgotten_before is not None and _made(one) < forgotten_before]
        young = sorted(set(ids) - set(old))
        for some in _batches(old):  # whatever became of them, they are not booked
            for word in await _ask(shards, shard, some, book=False):
                found.there += word == "there"
                found.forgotten += word not in ("there", "")
                found.unknown += not word
        for some in _batches(young):
            for order_id, word in zip(some, await _ask(shards, shard, some, book=book), strict=True):
                found.there += word == "there"
                found.unknown += not word
                if word == "gone":
                    found.gone.append(order_id)
                elif word in ("booked", "known"):
                    found.booked.append(order_id)
    return found


async def _ask(shards: Shards, shard: int, ids: Sequence[str], *, book: bool) -> Sequence[str]:
    """Return what the shard says of each order; nothing of each where it does not answer."""
    if shard not in shards:
        return [""] * len(ids)
    try:
        words: list[str] = await shards.run("lose", shard, "1" if book else "", *ids)
    except Exception as error:
        if not is_store_down(error):
            raise
        return [""] * len(ids)
    return words


def _made(order_id: str) -> datetime:
    return at(int(order_id[TIME], 16))


def _by_shard(order_ids: Iterable[str]) -> dict[int, list[str]]:
    found: defaultdict[int, list[str]] = defaultdict(list)
    for order_id in dict.fromkeys(order_ids):
        found[shard_of_order(order_id)].append(order_id)
    return found


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[first : first + STEP] for first in range(0, len(ids), STEP))
