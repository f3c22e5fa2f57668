"""The list of all orders by the time of their acceptance, over every shard, a page at a time.

A page costs the store no more than a few milliseconds at once, however many orders there are and however few fit.
"""

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from service.ledger.orders import FoundOrders, Order, Status
from service.store import Shards, StoreConnectionError, keys

Direction = Literal["newest", "oldest"]
LOOKS = 1000
"""Orders that the store looks at in one call: about 3 ms."""
MAX_CALLS = 25
"""Calls for one page: where few orders fit, a page may be short, or empty, and still not the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """Which orders; by default all. A time of acceptance fits from `accepted_after` on and below `accepted_before`."""

    user_id: str | None = None
    product_id: str | None = None
    statuses: frozenset[Status] = frozenset()
    accepted_after: datetime | None = None
    accepted_before: datetime | None = None


class Position(NamedTuple):
    """A place in the list: milliseconds of the epoch, and the id among the orders of that moment."""

    time: int
    order_id: str


class OrderPage(NamedTuple):
    """Some orders of a list; `end` is where the next page begins, None after the last."""

    orders: FoundOrders
    end: Position | None


class _Part(NamedTuple):
    """What one shard found; `end` is how far it looked, None at the end of its list."""

    found: list[tuple[Position, Order]]
    end: Position | None


class OrderList:
    """The orders of every shard."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def page(
        self, which: OrderFilter, limit: int, after: Position | None = None, *, first: Direction = "newest"
    ) -> OrderPage:
        """Read the next orders that fit.

        Args:
            which: Those that are wanted.
            limit: How many at most. Fewer are no sign that there are no more: `end` is.
            after: Where the page before ended.
            first: Which end of the list comes first.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        orders = FoundOrders()
        for _ in range(MAX_CALLS):
            read, after = await self._look(which, limit - len(orders), after, first)
            orders += read
            orders.missing_shards = read.missing_shards
            if after is None or len(orders) >= limit:
                break
        return OrderPage(orders, after)

    async def pages(self, which: OrderFilter, size: int) -> AsyncIterator[list[Order]]:
        """Read all orders that fit, the oldest first, `size` at a time; no more than that is held in memory.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        after: Position | None = None
        while True:
            orders, after = await self.page(which, size, after, first="oldest")
            if orders.missing_shards:
                raise StoreConnectionError(f"shards {list(orders.missing_shards)} of the store do not answer")
            yield orders
            if after is None:
                return

    async def _look(self, which: OrderFilter, limit: int, after: Position | None, first: Direction) -> OrderPage:
        among = None if which.product_id is None else self._shards.of(which.product_id)
        answers = await self._shards.gather("orders", *_arguments(which, limit, after, first), among=among)
        parts = [_read(reply) for reply in answers.replies.values()]
        newest = first == "newest"
        ends = [part.end for part in parts if part.end is not None]
        horizon = (max(ends) if newest else min(ends)) if ends else None  # behind it some shard has not looked

        def seen(position: Position) -> bool:
            return horizon is None or (position >= horizon if newest else position <= horizon)

        found = [pair for part in parts for pair in part.found if seen(pair[0])]
        found.sort(key=lambda pair: pair[0], reverse=newest)
        if len(found) > limit:
            found, horizon = found[:limit], found[limit - 1][0]
        return OrderPage(FoundOrders((order for _, order in found), answers.missing), horizon)


def _arguments(which: OrderFilter, limit: int, after: Position | None, first: Direction) -> list[str | int]:
    args: list[str | int] = [first, "" if which.user_id is None else keys.escape(which.user_id)]
    args.append("" if which.accepted_after is None else _next_millisecond(which.accepted_after))
    args.append("" if which.accepted_before is None else max(_next_millisecond(which.accepted_before) - 1, 0))
    args += ("", "") if after is None else (after.time, after.order_id)
    args += (limit, LOOKS, "" if which.product_id is None else keys.escape(which.product_id))
    return [*args, *sorted(which.statuses)]


def _next_millisecond(moment: datetime) -> int:
    """Return the first whole millisecond that is not before this moment."""
    return math.ceil(round(moment.timestamp() * 1_000_000) / 1000)


def _read(reply: list[Any]) -> _Part:
    rows, time, order_id = reply
    return _Part(
        [(Position(int(at), order.order_id), order) for at, row in rows for order in (Order.from_row(row),)],
        Position(int(time), order_id) if time else None,
    )
