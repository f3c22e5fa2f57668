"""Dead letters: orders that could not be processed. They are `failed` and hold no units; a person decides."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from service.ledger.orders import FoundOrders, Order, shard_of_order
from service.store import Shards


class Requeued(StrEnum):
    """What became of a dead letter that was to be processed anew."""

    REQUEUED = "requeued"
    SOLD_OUT = "sold_out"
    LIMIT_EXCEEDED = "limit_exceeded"
    NOT_DEAD = "not_dead"


class DeadLetters:
    """The dead letters of every shard."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def list(self, limit: int = 1000) -> FoundOrders:
        """Read the dead letters, those that died first at the head."""
        found = await self._shards.gather("dead", limit)
        orders = [Order.from_row(row) for rows in found.replies.values() for row in rows]
        orders.sort(key=lambda order: (order.settled_at or order.accepted_at, order.order_id))
        return FoundOrders(orders[:limit], found.missing)

    async def requeue(self, order_ids: Sequence[str], reservation: timedelta) -> dict[str, Requeued]:
        """Reserve the units anew and put the orders back into the queue, where that can be done."""
        keep = reservation // timedelta(milliseconds=1)
        return {
            order_id: Requeued((await self._shards.run("requeue", shard_of_order(order_id), keep, order_id))[0])
            for order_id in order_ids
        }

    async def drop(self, order_ids: Sequence[str]) -> dict[str, bool]:
        """Take orders off the list; they stay failed. Return True where there was one."""
        return {
            order_id: (await self._shards.run("drop", shard_of_order(order_id), order_id))[0] == "dropped"
            for order_id in order_ids
        }
