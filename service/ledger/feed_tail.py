"""One reader at the end of the feed for all who wait there: many or few, the store is asked four times a second.

It reads while somebody waits and keeps the newest changes, so that who comes again for the next ones is answered from
memory. Who is further behind reads by itself.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

from service.cancellation import cancel_and_wait
from service.ledger.feed import Change, Cursor, Feed, FeedPage, Place
from service.store.shards import NONE
from telemetry import suppressed

TURN_SECONDS = 0.25
BEHIND_SECONDS = 1.0
"""How often one asks that has to read by itself, because a shard is down that it has not read to the end."""
MAX_READ = 1000
KEPT = 2000
"""Changes of all shards together; some 1 kB each."""


class FeedTail:
    """Who waits in one process for what changes next; `waiting` is how many.

    Args:
        feed: What is read.
        shards: The numbers of its shards.
        stop: Ends every wait when it is set.
    """

    def __init__(self, feed: Feed, shards: tuple[int, ...], stop: asyncio.Event) -> None:
        self._feed = feed
        self._shards = shards
        self._stop = stop
        self._kept_each = max(KEPT // len(shards), 50)
        self.waiting = 0
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Event()
        self._error: Exception | None = None
        self._page: FeedPage | None = None
        self._from: dict[int, Place] = {}
        self._kept: dict[int, deque[Change]] = {}

    async def page(self, after: Cursor | None, limit: int, wait_seconds: float = 0.0) -> FeedPage:
        """Read the next changes, and wait for some if there are none.

        Args:
            after: Where the page before ended; None begins with the oldest that is kept.
            limit: How many at most.
            wait_seconds: How long to wait; the page is empty then.

        Raises:
            CursorExpiredError: The cursor is too old, or of another store.
            redis.exceptions.RedisError: The store is down.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + wait_seconds
        page = self._remembered(after, limit) if wait_seconds else None
        page = page or await self._feed.read(after, limit)
        while not page.changes and not self._stop.is_set():
            if page.complete and (left := until - clock()) <= 0:
                break
            if page.complete:
                await self._wait(page.end, left)
            page = self._remembered(page.end, limit) or await self._feed.read(page.end, limit)
        return page

    async def aclose(self) -> None:
        """End the reading, so that the client under it may be closed."""
        if self._task is not None:
            await cancel_and_wait([self._task])

    async def _wait(self, after: Cursor, seconds: float) -> None:
        """Wait until the feed was read again."""
        if self._task is None:
            self._begin(after)
        if not self._covers(after):
            await asyncio.sleep(min(seconds, BEHIND_SECONDS))
            return
        self.waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._turn.wait()
        finally:
            self.waiting -= 1
        if self._error is not None:
            raise self._error

    def _begin(self, cursor: Cursor) -> None:
        self._error = None
        self._page = FeedPage([], cursor, complete=True, missing_shards=None)
        self._from = dict(cursor.places)
        self._kept = {shard: deque() for shard in self._shards}
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._task = self._page = None
        self._next_turn()
        if not task.cancelled():
            task.exception()

    def _next_turn(self) -> None:
        self._turn.set()
        self._turn = asyncio.Event()

    async def _run(self) -> None:
        """Read the feed while somebody waits, or has just waited."""
        idle = 0
        while idle < 1 / TURN_SECONDS and not self._stop.is_set():
            await asyncio.sleep(TURN_SECONDS)
            idle = 0 if self.waiting else idle + 1
            await self._read()

    async def _read(self) -> None:
        """Take what is new, and wake those who wait for it."""
        page = self._page
        while page is not None:
            try:
                with suppressed():
                    page = await self._feed.read(page.end, MAX_READ, NONE)
            except Exception as error:
                self._error = error  # for those who wait: they ask anew, and begin another reading
                raise
            self._keep(page)
            self._next_turn()
            if page.complete:
                return

    def _keep(self, page: FeedPage) -> None:
        self._page = page
        for change in page.changes:
            kept = self._kept[change.shard]
            kept.append(change)
            if len(kept) > self._kept_each:
                self._from[change.shard] = kept.popleft().end

    def _covers(self, cursor: Cursor) -> bool:
        """Whether nothing that follows the cursor came before what is kept."""
        return (
            self._page is not None
            and cursor.store == self._page.end.store
            and all(_reaches(cursor.places, self._from, shard) for shard in self._shards)
        )

    def _remembered(self, after: Cursor | None, limit: int) -> FeedPage | None:
        """Return what is kept of that which follows the cursor; None where something is not kept."""
        if after is None or self._page is None or not self._covers(after):
            return None
        found: list[Change] = []
        for shard, kept in self._kept.items():
            for change in reversed(kept):
                if change.end <= after.places[shard]:
                    break
                found.append(change)
        found.sort(key=lambda change: (change.time, change.shard, change.end))
        page, rest = found[:limit], found[limit:]
        cut = {change.shard for change in rest}
        ends = {shard: end for shard, end in self._page.end.places.items() if shard not in cut}
        places = dict(after.places) | {change.shard: change.end for change in page}
        places |= {shard: max(end, places[shard]) for shard, end in ends.items() if shard in places}
        return FeedPage(page, Cursor(after.store, places), not rest, self._page.missing_shards)


def _reaches(places: Mapping[int, Place], begins: Mapping[int, Place], shard: int) -> bool:
    return shard in places and shard in begins and begins[shard] <= places[shard]
