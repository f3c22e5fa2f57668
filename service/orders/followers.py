"""Those who follow an order in one process: all orders that are followed are read once a second, for all at once.

So a thousand followers cost the store a round trip a second in each process, and none cost it nothing. A follower that
does not read what it is sent waits by itself, and gets the newest then.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from service.background import every
from service.ledger.order_reader import CurrentOrder, OrderReader
from service.ledger.orders import Status, shard_of_order
from service.problems import Problem
from service.store import STORE_ERRORS
from telemetry import suppressed

INTERVAL_SECONDS = 1.0
AT_A_TIME = 1000
"""Orders that are read in one script: the store serves nobody else for some milliseconds."""
FOLLOWERS_OF_ONE_ORDER = 20
LIVE = (Status.PENDING, Status.PROCESSING)


class Follower:
    """One who follows an order, and what it is to be told next.

    Args:
        seen: What it knows already.
    """

    def __init__(self, seen: CurrentOrder) -> None:
        self._seen: CurrentOrder | None = seen
        self._some = asyncio.Event()
        self._ended = False

    def put(self, current: CurrentOrder | None) -> None:
        """Take in how the order is now, None if it is no more; what is known is told again only while it is pending."""
        if current is None:
            self.end()
        elif current != self._seen or current.order.status is Status.PENDING:
            self._seen = current
            self._some.set()

    def end(self) -> None:
        """There will be no more."""
        self._ended = True
        self._some.set()

    async def next(self) -> CurrentOrder | None:
        """Wait for news, and return the newest; None when there will be none."""
        await self._some.wait()
        if self._ended:
            return None
        self._some.clear()
        return self._seen


class OrderFollowers:
    """The followers of one process.

    Args:
        reader: Reads their orders.
        limit: How many there may be at a time.
    """

    def __init__(self, reader: OrderReader, limit: int) -> None:
        self._reader = reader
        self._limit = limit
        self._count = 0
        self._followed = asyncio.Event()
        self._ended = False
        self._followers: defaultdict[str, set[Follower]] = defaultdict(set)

    def __len__(self) -> int:
        """How many follow."""
        return self._count

    def check_room(self, order_id: str) -> None:
        """Return if one more may follow an order.

        Raises:
            Problem: 503 `overloaded`, with `Retry-After`.
        """
        of_this = len(self._followers.get(order_id, ()))
        if self._ended or self._count >= self._limit or of_this >= FOLLOWERS_OF_ONE_ORDER:
            raise Problem("overloaded", "Too many follow their orders.", headers={"Retry-After": "5"})

    @contextmanager
    def follow(self, seen: CurrentOrder) -> Iterator[Follower]:
        """Yield a follower of an order, as long as the block lasts."""
        follower, order_id = Follower(seen), seen.order.order_id
        if self._ended:
            follower.end()
        self._followers[order_id].add(follower)
        self._count += 1
        self._followed.set()
        try:
            yield follower
        finally:
            self._count -= 1
            if not self._count:
                self._followed.clear()
            self._followers[order_id].discard(follower)
            if not self._followers[order_id]:
                del self._followers[order_id]

    def end(self) -> None:
        """Let all go, and nobody come: the process ends."""
        self._ended = True
        for followers in self._followers.values():
            for follower in followers:
                follower.end()

    async def run(self) -> None:
        """Read what is followed once a second, until cancelled; sleep while nobody follows."""
        await every(INTERVAL_SECONDS, self._round, outage=STORE_ERRORS, pause=self._pause)

    async def _pause(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        await self._followed.wait()
        return asyncio.get_running_loop().time()

    async def _round(self) -> None:
        by_shard: defaultdict[int, list[str]] = defaultdict(list)
        for order_id in self._followers:
            by_shard[shard_of_order(order_id)].append(order_id)
        reads = [self._read(shard, order_ids) for shard, order_ids in by_shard.items()]
        failed = [error for error in await asyncio.gather(*reads, return_exceptions=True) if error is not None]
        for error in failed:  # those of the other shards were told
            raise error

    async def _read(self, shard: int, order_ids: Sequence[str]) -> None:
        for first in range(0, len(order_ids), AT_A_TIME):
            some = order_ids[first : first + AT_A_TIME]
            with suppressed():
                found = await self._reader.orders(shard, some)
            for order_id, current in zip(some, found, strict=True):
                for follower in self._followers.get(order_id, ()):
                    follower.put(current)
