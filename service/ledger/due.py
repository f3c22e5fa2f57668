"""When something is to be done in the ledger by the clock."""

from datetime import timedelta
from math import inf
from typing import NamedTuple

from service.ledger.ledger import Ledger, milliseconds


class Due(NamedTuple):
    """Seconds until a step has something to do: 0 where it has now, infinite where it has not."""

    expire: float
    promote: float
    trim: float
    forget: float

    @property
    def at_rest(self) -> bool:
        """Whether no order is under way that could be due soon."""
        return min(self.expire, self.promote) == inf


async def due(ledger: Ledger, shard: int) -> Due:
    """Say when each of the steps that are taken by the clock has something to do, in one look.

    Raises:
        redis.exceptions.RedisError: The store is down.
    """
    policy = ledger.policy
    feed = milliseconds(min(policy.events_retention, policy.retention or timedelta.max))
    retention = -1 if policy.retention is None else milliseconds(policy.retention)
    found: list[int] = await ledger.shards.run("due", shard, feed, retention)
    return Due(*(ms / 1000 if ms >= 0 else inf for ms in found))
