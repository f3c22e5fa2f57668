"""Tickets of a sale by ticket: given by the store, signed by a key that the store keeps.

A ticket says the round of its lot and its number, `1.<round>.<number>.<signature>`, and is signed for one user and one
product; who has another's has nothing. The key is the shard's, so every process agrees and a restart changes nothing.
"""

import base64
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from service.ledger.orders import at
from service.store import BatchTrace, ShardBatcher, Shards, SharedRead, is_store_down, keys

KEPT_AFTER_CLOSE = timedelta(days=1)
KEPT_AFTER_OPENING = timedelta(days=30)
MAX_BATCH = 128
READ_AGAIN_SECONDS = 1.0
INVALID = "?"
_TICKET = re.compile(r"1\.([0-9]{1,15})\.([0-9]{1,15})\.[A-Za-z0-9_-]{43}", re.ASCII)
_MILLISECOND = timedelta(milliseconds=1)


class TicketOutcome(StrEnum):
    """What the ledger says to who asks for a ticket."""

    TICKET = "ticket"
    UNKNOWN_PRODUCT = "unknown_product"
    NO_TICKET_NEEDED = "no_ticket_needed"
    SALE_CLOSED = "sale_closed"
    STORE_UNAVAILABLE = "store_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A user's ticket for a product, as it stands now. `position`, `ahead` and `wait` are None until the lot is drawn.

    Attributes:
        text: What an order shows.
        position: From 1 on.
        ahead: How many before it have not had their turn.
        given: Tickets of this lot, late ones too.
        opens_at: When the sale opens, or opened.
        wait: Until its turn comes if nobody buys meanwhile; zero when it has come.
    """

    text: str
    position: int | None
    ahead: int | None
    given: int
    opens_at: datetime
    wait: timedelta | None


class TicketAnswer(NamedTuple):
    """`ticket` is None where there is none to give."""

    outcome: TicketOutcome
    ticket: Ticket | None


class _Asked(NamedTuple):
    product_id: str
    user_id: str


class SaleTickets:
    """Gives and checks tickets for one process; those who ask at one time share a round trip.

    Args:
        shards: The store.
        window: How long a turn lasts, see `LedgerPolicy.ticket_window`.
    """

    def __init__(self, shards: Shards, window: timedelta) -> None:
        self._shards = shards
        self._window = window
        self._keys: dict[int, str] = {}
        self._read: dict[int, float] = {}
        self._reading = {shard: SharedRead(partial(self._read_key, shard)) for shard in shards}
        self._batches = ShardBatcher(shards, self._send, limit=MAX_BATCH, ends_all=is_store_down)

    async def give(self, product_id: str, user_id: str) -> TicketAnswer:
        """Give a user the ticket for a product: the same one, however often it is asked for.

        Raises:
            redis.exceptions.RedisError: The store is down; it may have been given.
        """
        return await self._batches.submit(self._shards.of(product_id), _Asked(product_id, user_id))

    async def checked(self, ticket: str, product_id: str, user_id: str) -> str:
        """Return what `place` is told of a ticket: round and number, or that it is none of this user's and product's.

        The store is asked for the key once, and again, at most once a second, when a signature is not right: it may
        have been made anew.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        found = _TICKET.fullmatch(ticket)
        if found is None:
            return INVALID
        round_number, number = found.groups()
        shard = self._shards.of(product_id)
        for key in (self._keys.get(shard, ""), None):
            if key is None and not (key := await self._new_key(shard)):
                break
            if key and hmac.compare_digest(ticket, _signed(key, round_number, number, product_id, user_id)):
                return f"{round_number} {number}"
        return INVALID

    async def aclose(self) -> None:
        """End what is being asked."""
        await self._batches.aclose()
        for reading in self._reading.values():
            await reading.aclose()

    async def _new_key(self, shard: int) -> str | None:
        """Read the key that signs, unless that was done just now."""
        if monotonic() - self._read.get(shard, float("-inf")) < READ_AGAIN_SECONDS:
            return None
        return await self._reading[shard]()

    async def _read_key(self, shard: int, trace: BatchTrace) -> str | None:
        key: str | None = await self._shards.run("ticket_key", shard, trace=trace)
        self._read[shard] = monotonic()
        if key:
            self._keys[shard] = key
        return key

    async def _send(self, shard: int, asked: Sequence[_Asked], trace: BatchTrace) -> Sequence[TicketAnswer]:
        args: list[str | int] = [secrets.token_hex(32), secrets.token_hex(16), self._window // _MILLISECOND]
        args += (KEPT_AFTER_CLOSE // _MILLISECOND, KEPT_AFTER_OPENING // _MILLISECOND)
        for one in asked:
            bucket, rest = _digest(one.user_id)
            args += (keys.escape(one.product_id), bucket, rest)
        key, *replies = await self._shards.run("ticket", shard, *args, batch=len(asked), trace=trace)
        self._keys[shard] = key
        return [_answer(key, one, reply) for one, reply in zip(asked, replies, strict=True)]


def _digest(user_id: str) -> tuple[str, str]:
    """Return the bucket of a user, of 4096, and what stands for the user there: 84 bits in all.

    Small hashes are packed, and hold a ticket in a third of the room that one large hash takes.
    """
    digest = keys.digest("ticket", user_id)
    return digest[:3], base64.urlsafe_b64encode(bytes.fromhex(digest[4:22])).decode()


def _signed(key: str, round_number: str, number: str, product_id: str, user_id: str) -> str:
    """Return the ticket that says this: HMAC-SHA-256 (RFC 2104) over all of it."""
    said = json.dumps([round_number, number, product_id, user_id]).encode()
    signature = base64.urlsafe_b64encode(hmac.digest(key.encode(), said, "sha256")).decode().rstrip("=")
    return f"1.{round_number}.{number}.{signature}"


def _answer(key: str, asked: _Asked, reply: list[Any]) -> TicketAnswer:
    outcome = TicketOutcome(reply[0])
    if outcome is not TicketOutcome.TICKET:
        return TicketAnswer(outcome, None)
    round_number, number, place, turn, given, opens, wait = map(int, reply[1:])
    drawn = place >= 0
    ticket = Ticket(
        text=_signed(key, str(round_number), str(number), asked.product_id, asked.user_id),
        position=place + 1 if drawn else None,
        ahead=max(place - turn, 0) if drawn else None,
        given=given,
        opens_at=at(opens),
        wait=wait * _MILLISECOND if drawn else None,
    )
    return TicketAnswer(outcome, ticket)
