"""Reading orders as they are now: those who ask at one time share a round trip."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from service.ledger.orders import Order, Status, shard_of_order
from service.store import BatchTrace, ShardBatcher, Shards, is_store_down
from service.store.shards import CURRENT

MAX_BATCH = 128


@dataclass(frozen=True, slots=True)
class CurrentOrder:
    """An order, and what it waits for while it is pending; afterwards both are None.

    Attributes:
        order: As the ledger has it.
        queue_position: Its place in the queue now, from 1; orders that are being processed stand before it.
        estimated_wait_seconds: How long from now until a worker takes it, at the present pace; 0 while none is known.
    """

    order: Order
    queue_position: int | None = None
    estimated_wait_seconds: float | None = None


class OrderReader:
    """Reads orders for one process."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._batches = ShardBatcher(shards, self.orders, limit=MAX_BATCH, ends_all=is_store_down)

    async def order(self, order_id: str) -> CurrentOrder | None:
        """Read one order; None if there is none.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        return await self._batches.submit(shard_of_order(order_id), order_id)

    async def orders(
        self, shard: int, order_ids: Sequence[str], trace: BatchTrace = CURRENT
    ) -> Sequence[CurrentOrder | None]:
        """Read some orders of a shard in one round trip.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        replies = await self._shards.run("order", shard, *order_ids, batch=len(order_ids), trace=trace)
        return [_current(*reply) if reply else None for reply in replies]

    async def with_places(self, orders: Iterable[Order]) -> list[CurrentOrder]:
        """Tell what those orders wait for that are pending; one round trip to each shard that has some.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        listed = list(orders)
        pending: defaultdict[int, list[str]] = defaultdict(list)
        for order in listed:
            if order.status is Status.PENDING:
                pending[shard_of_order(order.order_id)].append(order.order_id)
        found = await asyncio.gather(*(self.orders(shard, order_ids) for shard, order_ids in pending.items()))
        now = {current.order.order_id: current for some in found for current in some if current}
        return [
            CurrentOrder(order, place.queue_position, place.estimated_wait_seconds)
            if (place := now.get(order.order_id))
            else CurrentOrder(order)
            for order in listed
        ]

    async def aclose(self) -> None:
        """End what is being read."""
        await self._batches.aclose()


def _current(row: list[str], *place: Any) -> CurrentOrder:  # noqa: ANN401 - two numbers, or none
    position, wait_ms = place or (None, None)
    return CurrentOrder(Order.from_row(row), position, None if wait_ms is None else wait_ms / 1000)
