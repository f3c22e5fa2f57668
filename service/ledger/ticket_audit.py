"""Sales by ticket, for the audit: the lots, and the numbers that stand in the tickets that are remembered.

The numbers are read bit by bit before the lots, so that a sale which goes on has given more by then, never less.
"""

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

from service.store import Shards, StoreResponseError, keys

AT_A_TIME = 64
_TICKETS = re.compile(rb"tickets:(\d+):(.*):[0-9a-f]{3}", re.DOTALL)


@dataclass(slots=True)
class TicketNumbers:
    """The numbers of the tickets of one lot, as far as they are remembered: a day or a month beyond the sale."""

    seen: set[int] = field(default_factory=set)
    twice: set[int] = field(default_factory=set)

    def add(self, numbers: Sequence[int]) -> None:
        """Take in the numbers of some tickets."""
        for number in numbers:
            (self.twice if number in self.seen else self.seen).add(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """How the sale of a product by ticket stands; `drawn` tickets took part in the lot, None until it is drawn."""

    product_id: str
    given: int
    drawn: int | None
    turn: int
    numbers: TicketNumbers

    @classmethod
    def of(cls, row: Sequence[Any], numbers: Mapping[tuple[str, int], TicketNumbers]) -> Self:
        """Read one of the `lots` of `dump.lua`; the numbers are those of its round."""
        product, round_number, given, drawn, turn = row
        found = numbers.get((str(product), int(round_number)), TicketNumbers())
        return cls(
            product_id=keys.unescape(str(product)),
            given=int(given),
            drawn=int(drawn) if drawn != "" else None,
            turn=int(turn),
            numbers=found,
        )


async def read_numbers(shards: Shards, names: Mapping[int, Collection[bytes]]) -> dict[tuple[str, int], TicketNumbers]:
    """Return the numbers of all tickets that are remembered, by product (as the store spells it) and round.

    Args:
        shards: The store.
        names: Names of keys, by shard; those that hold tickets are looked at.

    Raises:
        redis.exceptions.RedisError: The store is down.
    """
    found: dict[tuple[str, int], TicketNumbers] = {}
    waiting = ((shard, name) for shard in names for name in names[shard] if _TICKETS.fullmatch(name))
    while some := list(islice(waiting, AT_A_TIME)):
        read = await asyncio.gather(*(_numbers(shards, shard, name) for shard, name in some))
        for (_, name), numbers in zip(some, read, strict=True):
            if matched := _TICKETS.fullmatch(name):
                lot = (matched[2].decode(errors="replace"), int(matched[1]))
                found.setdefault(lot, TicketNumbers()).add(numbers)
    return found


async def _numbers(shards: Shards, shard: int, name: bytes) -> list[int]:
    """Read one bucket; what is no bucket is set aside by `ticket.lua`, not here."""
    client: Any = shards.client
    try:
        values = await client.hvals(keys.prefix(shard, shards.prefix).encode() + name)
    except StoreResponseError:
        return []
    return [int(value) for value in values if str(value).isdecimal()]


def unsound(lots: Sequence[Lot]) -> Iterator[str]:
    """Say what is wrong with lots: numbers given twice or never given, more drawn than given, a turn below 0."""
    for lot in lots:
        if lot.numbers.twice:
            yield f"{lot.product_id}: {len(lot.numbers.twice)} numbers are on two tickets, {min(lot.numbers.twice)} say"
        beyond = [number for number in lot.numbers.seen if number >= lot.given]
        if beyond:
            yield f"{lot.product_id}: {len(beyond)} tickets have numbers beyond the {lot.given} that were given"
        if lot.drawn is not None and not (lot.drawn <= lot.given and lot.turn >= 0):
            yield f"{lot.product_id}: {lot.drawn} of {lot.given} tickets took part in its lot, {lot.turn} had a turn"
