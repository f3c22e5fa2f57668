"""Rates that hold over all processes of a fleet: the store counts, those who ask at one time share a round trip."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from service.store import BatchTrace, ShardBatcher, Shards, is_store_down, keys
from service.store.scripts import Arg

_MICROSECONDS = 1_000_000


class RateAnswer(NamedTuple):
    """What the store says of one who asks: how long to wait (0: not at all), what is left, when all of it is back."""

    wait_seconds: float
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second on average. As many as are due in a second, and at least one, may come at once."""

    per_second: float

    @property
    def interval(self) -> int:
        """Microseconds from one to the next."""
        return max(round(_MICROSECONDS / self.per_second), 1)

    @property
    def ahead(self) -> int:
        """Microseconds that one may come before it is due."""
        return max(_MICROSECONDS - self.interval, 0)

    @property
    def quota(self) -> int:
        """How many may come at once."""
        return self.ahead // self.interval + 1

    @property
    def window_seconds(self) -> int:
        """In how many seconds as many are due."""
        return max(ceil(self.quota * self.interval / _MICROSECONDS), 1)


class FleetRates:
    """Counts towards rates in the store, for one process.

    Args:
        shards: The store.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._batches: ShardBatcher[tuple[str, Rate], RateAnswer] = ShardBatcher(
            shards, self._send, ends_all=is_store_down
        )

    async def count(self, kind: str, who: str, rate: Rate) -> RateAnswer:
        """Count one, unless it comes too early.

        Args:
            kind: Of whom, `user` say; what is counted for different kinds never meets.
            who: A user or an address. The store is told a digest.
            rate: What is allowed.

        Raises:
            redis.exceptions.RedisError: The store is down; it may have been counted.
        """
        digest = keys.digest("rate", kind, who)
        return await self._batches.submit(self._shards.of(digest), (digest, rate))

    async def aclose(self) -> None:
        """End what is being asked."""
        await self._batches.aclose()

    async def _send(self, shard: int, asked: Sequence[tuple[str, Rate]], trace: BatchTrace) -> Sequence[RateAnswer]:
        arguments: list[Arg] = []
        for digest, rate in asked:
            arguments += [digest, rate.interval, rate.ahead]
        replies = await self._shards.run("rate", shard, *arguments, batch=len(asked), trace=trace)
        return [
            RateAnswer(int(wait) / _MICROSECONDS, int(left), int(reset) / _MICROSECONDS)
            for wait, left, reset in replies
        ]
