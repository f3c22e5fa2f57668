"""Dead letters: orders that could not be processed. They are `failed` and hold no units; a person decides."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from service.ledger.once_only import OnceOnly, begin_once
from service.ledger.orders import FoundOrders, Order, shard_of_order
from service.store import Shards


class Requeued(StrEnum):
    """What became of a dead letter that was to be processed anew."""

    REQUEUED = "requeued"
    SOLD_OUT = "sold_out"
    LIMIT_EXCEEDED = "limit_exceeded"
    NOT_DEAD = "not_dead"
    UNKNOWN_ORDER = "unknown_order"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"


class RequeueAnswer(NamedTuple):
    """The ledger's answer; `order` as it was then, `replayed` says that the same request had requeued it before."""

    result: Requeued
    order: Order | None
    replayed: bool


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
        return {order_id: (await self.requeue_once(order_id, reservation)).result for order_id in order_ids}

    async def requeue_once(self, order_id: str, reservation: timedelta, once: OnceOnly | None = None) -> RequeueAnswer:
        """Requeue one order.

        Args:
            order_id: Which dead letter.
            reservation: How long it holds its units.
            once: The request that this is, where the caller may send it again: another death is another request.

        Raises:
            redis.exceptions.RedisError: The store is down; it may have been requeued.
        """
        shard = shard_of_order(order_id)
        request = await begin_once(self._shards, shard, once)
        if request is None:
            return RequeueAnswer(Requeued.IDEMPOTENCY_CONFLICT, None, replayed=False)
        keep = reservation // timedelta(milliseconds=1)
        result, *rest = await self._shards.run("requeue", shard, *request, order_id, keep)
        return RequeueAnswer(Requeued(result), Order.from_row(rest[0]) if rest else None, rest[1:] == [1])

    async def drop(self, order_ids: Sequence[str]) -> dict[str, bool]:
        """Take orders off the list; they stay failed. Return True where there was one."""
        return {
            order_id: (await self._shards.run("drop", shard_of_order(order_id), order_id))[0] == "dropped"
            for order_id in order_ids
        }
