"""The lease on the ledger's series: one fleet of processes exports them at a time, so a sum over all targets is right.

A holder that dies is followed within `TTL_SECONDS`. A holder that was asleep does not believe an old answer: what
it was granted ends by its own clock, counted from before it asked, so it ends here no later than in the store.
"""

from collections.abc import Callable
from time import monotonic

from service.store import Shards

NAME = "exporter"
TTL_SECONDS = 3.0


class Lease:
    """The lease as one process sees it; processes with the same `holder` share it."""

    def __init__(self, shards: Shards, holder: str, clock: Callable[[], float] = monotonic) -> None:
        self._shards = shards
        self._holder = holder
        self._clock = clock
        self._until = 0.0

    def held(self) -> bool:
        """Whether this fleet exports the ledger's series now."""
        return self._clock() < self._until

    async def renew(self) -> None:
        """Take the lease if it is free, keep it if it is ours.

        Raises:
            redis.exceptions.RedisError: The store is down; what was granted before still ends in its time.
        """
        asked = self._clock()
        granted = await self._shards.run("lease", 0, NAME, self._holder, int(TTL_SECONDS * 1000))
        self._until = asked + TTL_SECONDS if granted else 0.0
