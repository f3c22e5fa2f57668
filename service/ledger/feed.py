"""The feed of order changes: every change of every order, once, in the order in which one order changed.

The script that changes an order writes the change down, so none is missing and none is invented. Each shard has a feed
of its own; a `Cursor` is a place in all of them.
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self
from zlib import crc32

from service.ledger.orders import COUNTED, Order, Status, at
from service.store import Shards, keys
from service.store.shards import CURRENT, BatchTrace

MAX_CURSOR = 4096
CURSOR_LETTERS = "^[A-Za-z0-9_-]*$"
"""None of them is longer in an address, so that no cursor makes one that is too long."""
EVENT_TYPES = {status: f"flashsale.order.{status}" for status in COUNTED}
"""What the event is called that tells of a change."""

_STORE = struct.Struct(">BQ")
_PLACE = struct.Struct(">BQIH")
_CHECK = struct.Struct(">I")
_FORM = 1


def store_number(name: str) -> int:
    """Return the number that stands in a cursor for the store of this name: 64 bits."""
    return int(keys.digest(name)[:16], 16)


class CursorExpiredError(Exception):
    """What comes after the cursor is no longer kept, or is in another store."""


class Place(NamedTuple):
    """Where the next reading of a shard begins: an entry, which may be gone, and how many of its changes are read."""

    milliseconds: int
    number: int
    read: int

    @property
    def entry(self) -> str:
        """The entry's id in the store."""
        return f"{self.milliseconds}-{self.number}"

    @classmethod
    def of(cls, entry: str, read: int) -> Self:
        """Read an entry's id."""
        milliseconds, number = entry.split("-")
        return cls(int(milliseconds), int(number), read)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the feed of every shard: `store` is whose; a shard that is not in `places` begins with its oldest."""

    store: int
    places: Mapping[int, Place]

    def __str__(self) -> str:
        packed = _STORE.pack(_FORM, self.store)
        packed += b"".join(_PLACE.pack(shard, *place) for shard, place in sorted(self.places.items()))
        return urlsafe_b64encode(packed + _CHECK.pack(crc32(packed))).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a cursor as it was given out.

        Raises:
            ValueError: It never was.
        """
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        packed, check = raw[: -_CHECK.size], raw[-_CHECK.size :]
        places = packed[_STORE.size :]
        whole = len(packed) >= _STORE.size and len(places) % _PLACE.size == 0
        if not whole or check != _CHECK.pack(crc32(packed)) or packed[0] != _FORM:
            raise ValueError("not a cursor of this feed")
        return cls(
            _STORE.unpack_from(packed)[1],
            {shard: Place(*place) for shard, *place in _PLACE.iter_unpack(places)},
        )


@dataclass(frozen=True, slots=True)
class Change:
    """An order that changed, as it was then.

    `type` is the status that it changed to, or `refunded` for each refund: one of a part leaves it `confirmed`.
    `event_id` is the same however often the change is read. `end` is the place behind it in its shard.
    """

    event_id: str
    type: Status
    time: datetime
    order: Order
    shard: int
    end: Place


class FeedPage(NamedTuple):
    """Some changes; `end` is where the next page begins.

    `complete`: at that moment there were no more in the shards that answered. `missing_shards` did not, and `end` is
    for them where it was; None where there is one shard.
    """

    changes: list[Change]
    end: Cursor
    complete: bool
    missing_shards: tuple[int, ...] | None


class ShardPage(NamedTuple):
    """Some changes of one shard; `end` is where the next page begins, `store` the number of the store."""

    changes: list[Change]
    end: Place
    store: int


class Feed:
    """The feeds of all shards, read as one, or one of them."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def read(self, after: Cursor | None, limit: int, trace: BatchTrace = CURRENT) -> FeedPage:
        """Read the next changes, over all shards by their time.

        Args:
            after: Where the page before ended; None begins with the oldest that is kept.
            limit: How many at most. A page may be shorter, or empty, and not the last.
            trace: Whose traces the round trip belongs to.

        Raises:
            CursorExpiredError: The cursor is too old, or of another store.
            redis.exceptions.RedisError: The store is down.
        """
        places = dict(after.places) if after else {}
        asked = [shard for shard in self._shards if shard not in self._shards.silent]
        answers = await self._shards.gather_each(
            "events", {shard: (*_begin(places.get(shard)), limit) for shard in asked}, trace=trace
        )
        parts = {shard: _Part.read(shard, reply) for shard, reply in answers.replies.items()}
        store = next(part.store for part in parts.values())
        if (after and after.store != store) or any(part.expired for part in parts.values()):
            raise CursorExpiredError
        changes = sorted((c for part in parts.values() for c in part.changes), key=lambda change: change.time)
        page, rest = changes[:limit], changes[limit:]
        cut = {change.shard for change in rest}
        places |= {shard: part.end for shard, part in parts.items() if shard not in cut}
        places |= {change.shard: change.end for change in page if change.shard in cut}
        complete = not rest and not any(part.more for part in parts.values())
        return FeedPage(page, Cursor(store, places), complete, answers.missing)

    async def read_shard(self, shard: int, after: Place | None, limit: int) -> ShardPage:
        """Read the next changes of one shard, as `read` does."""
        part = _Part.read(shard, await self._shards.run("events", shard, *_begin(after), limit))
        if part.expired:
            raise CursorExpiredError
        return ShardPage(part.changes, part.end, part.store)


def _begin(place: Place | None) -> tuple[str, int]:
    return (place.entry, place.read) if place else ("", 0)


class _Part(NamedTuple):
    """What one shard has, read from what `events.lua` returns."""

    store: int
    expired: bool
    end: Place
    more: bool
    changes: list[Change]

    @classmethod
    def read(cls, shard: int, reply: list[Any]) -> Self:
        store, expired, entry, read, more, rows = reply
        changes = [_change(shard, *row) for row in rows]
        return cls(store_number(store), bool(expired), Place.of(entry, read), bool(more), changes)


def _change(shard: int, entry: str, number: int, status: str, row: list[str]) -> Change:
    end = Place.of(entry, number)
    event_id, order = f"{shard:02d}-{entry}-{number}", Order.from_row(row)
    return Change(event_id, Status(status), at(end.milliseconds), order, shard, end)
