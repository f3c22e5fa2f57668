"""A lease: the right to do what one may do at a time.

The lease `exporter` is on the ledger's series: one fleet of processes exports them, so a sum over all targets is right.

A holder that dies is followed within `TTL_SECONDS`. A holder that was asleep does not believe an old answer: what
it was granted ends by its own clock, counted from before it asked, so it ends here no later than in the store.
With several shards three of them keep it and two must agree, so that it outlives one that is down.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from service.store import Shards, StoreTimeoutError, keys

NAME = "exporter"
TTL_SECONDS = 3.0
RELEASE_SECONDS = 0.001
QUORUM = 3


class Lease:
    """A lease as one process sees it; processes with the same `holder` share it."""

    def __init__(
        self, shards: Shards, holder: str, clock: Callable[[], float] = monotonic, *, name: str = NAME
    ) -> None:
        self._shards = shards
        self._name = name
        self._holder = holder
        self._clock = clock
        self.until = 0.0
        """When it ends, by the clock, unless it is renewed."""
        self._homes = _spread(tuple(shards))

    def held(self) -> bool:
        """Whether it is ours now."""
        return self._clock() < self.until

    async def renew(self) -> None:
        """Take the lease if it is free, keep it if it is ours; most of the shards that keep it must agree.

        Raises:
            redis.exceptions.RedisError: The store is down; what was granted before still ends in its time.
        """
        asked = self._clock()
        homes = self._homes
        found = await asyncio.gather(*(self._ask(shard, TTL_SECONDS) for shard in homes), return_exceptions=True)
        granted = [shard for shard, reply in zip(homes, found, strict=True) if reply == 1]
        errors = [reply for reply in found if isinstance(reply, BaseException)]
        if len(granted) * 2 > len(homes):
            self.until = asked + TTL_SECONDS
            return
        self.until = 0.0 if len(errors) < len(homes) else self.until
        for shard in granted:  # none shall have less than most of them, or nobody gets it
            await self._ask(shard, RELEASE_SECONDS)
        if errors:
            raise errors[0]

    async def renew_and(self, step: str) -> Any:  # noqa: ANN401 - as `Shards.run`
        """As `renew`, in a step of a store of one shard that does so first; return what else it says.

        Raises:
            redis.exceptions.RedisError: The store is down; what was granted before still ends in its time.
        """
        asked, (shard,) = self._clock(), tuple(self._shards)
        ms = round(TTL_SECONDS * 1000)
        granted, told = await self._shards.run(step, shard, self._name, self._holder, ms)
        self.until = asked + TTL_SECONDS if granted else 0.0
        return told

    async def _ask(self, shard: int, seconds: float) -> int:
        if shard in self._shards.silent:
            raise StoreTimeoutError("the shard is silent")
        granted: int = await self._shards.run("lease", shard, self._name, self._holder, round(seconds * 1000))
        return granted


def _spread(shards: Sequence[int]) -> tuple[int, ...]:
    """Return the shards that keep the lease: three that are far apart, so on different nodes where there are three."""
    if len(shards) < QUORUM:
        return (shards[0],)
    rest = {shard: keys.slot(shard) for shard in shards}
    homes = []
    for number in range(QUORUM):
        middle = keys.SLOTS * (2 * number + 1) // (2 * QUORUM)
        homes.append(min(rest, key=lambda shard: abs(rest[shard] - middle)))
        del rest[homes[-1]]
    return tuple(homes)
