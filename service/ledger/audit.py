"""What must always hold in the ledger.

Each invariant is one function from a `LedgerDump` to what it finds wrong.

`dump_ledger` reads a shard in one script, so that a sale that goes on meanwhile cannot blur what it finds. The store
serves nobody else for that long, about 15 us an order; so a large shard is read in parts, and again if it moved.
Before, all keys are gone through in small steps, for what the ledger's own lists do not name.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.ledger.order_table import OrderTable, values
from service.ledger.orders import Status, at
from service.ledger.products import Product
from service.ledger.snapshot import Snapshot
from service.ledger.ticket_audit import Lot, read_numbers, unsound
from service.store import Arg, Shards, is_store_down, keys, named, outage_reason
from service.store.scan import scan_keys

MAX_ORDERS = 30_000
PART = 1000
TRIES = 5
EMPTY = "empty, though it was in use"


@dataclass(frozen=True, slots=True)
class LedgerDump:
    """All that the store holds."""

    snapshot: Snapshot
    orders: OrderTable
    queued: Counter[str]
    delayed: frozenset[str]
    deadlines: frozenset[str]
    dead: frozenset[str]
    buyers: dict[tuple[str, str], int] = field(default_factory=dict)
    unlisted: frozenset[str] = frozenset()
    damaged: dict[str, str] = field(default_factory=dict)
    lots: tuple[Lot, ...] = ()
    missing_shards: dict[int, str] = field(default_factory=dict)

    @property
    def products(self) -> dict[str, Product]:
        """The products by id."""
        return {product.product_id: product for product in self.snapshot.products}


@dataclass(frozen=True, slots=True)
class Violation:
    """One invariant that does not hold, and for what."""

    invariant: str
    detail: str


class SaleMovesError(Exception):
    """The sale went on while the orders were read, and there are too many to read them at one instant."""


async def dump_ledger(shards: Shards, limit: int = MAX_ORDERS) -> LedgerDump:
    """Read every order and index of every shard.

    Args:
        shards: The store.
        limit: A shard with no more orders than this is read at one instant; the store serves nobody else meanwhile.

    Raises:
        SaleMovesError: A larger shard did not keep still while it was read.
        redis.exceptions.RedisError: No shard answers.
    """
    by_keys = await _named(shards)
    tickets = await read_numbers(shards, by_keys)
    reading = (_read_shard(shards, shard, limit, by_keys[shard]) for shard in shards)
    found = await asyncio.gather(*reading, return_exceptions=True)
    dumps = [one for one in found if not isinstance(one, BaseException)]
    away: dict[int, str] = {}
    for shard, error in zip(shards, found, strict=True):
        if isinstance(error, BaseException):
            if not (dumps and is_store_down(error)):
                raise error
            away[shard] = outage_reason(error)
        elif not error["there"]:
            away[shard] = EMPTY

    def ids(name: str) -> frozenset[str]:
        return frozenset(order_id for dump in dumps for order_id in dump[name])

    flat = [part for dump in dumps for part in dump["buyers"]]
    return LedgerDump(
        snapshot=Snapshot.from_shards([dump["snapshot"] for dump in dumps]),
        orders=OrderTable(row for dump in dumps for row in dump["orders"]),
        queued=Counter(order_id for dump in dumps for order_id in dump["queued"]),
        delayed=ids("delayed"),
        deadlines=ids("deadlines"),
        dead=ids("dead"),
        unlisted=ids("unlisted"),
        missing_shards=away,
        lots=tuple(Lot.of(row, tickets) for dump in dumps for row in dump["lots"]),
        damaged=_damaged(shards, found),
        buyers={
            (keys.unescape(product), keys.unescape(user)): int(units)
            for product, user, units in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        },
    )


def _damaged(shards: Shards, found: Sequence[dict[str, Any] | BaseException]) -> dict[str, str]:
    """Return what was set aside, and in which shard where there are several: each may have lost its queue."""
    return {
        f"{what} in shard {shard}" if shards.count > 1 else what: more
        for shard, dump in zip(shards, found, strict=True)
        if not isinstance(dump, BaseException)
        for what, more in named(dump["damaged"]).items()
    }


async def _named(shards: Shards) -> dict[int, set[bytes]]:
    """Return the keys of each shard that name an order or a user (the list of all orders may lack some), or tickets."""
    found: dict[int, set[bytes]] = {shard: set() for shard in shards}
    async for shard, name in scan_keys(shards, "[out]*"):
        if name.startswith((b"o:", b"u:", b"tickets:")):
            found[shard].add(name)
    return found


def _others(shard: int, named_by_keys: set[bytes], orders: list[str]) -> list[str]:
    """Return what the keys name and the orders that were read do not, as `dump` takes it."""
    left = {name for name in named_by_keys if not name.startswith(b"tickets:")}
    for row in orders:
        order_id, _, _, user, *_ = values(row)
        left.discard(b"o:" + bytes.fromhex(order_id[2:]))
        left.discard(f"u:{user}".encode())
    found = [name.partition(b":") for name in left]
    return sorted(
        f"o{shard:02d}{rest.hex()}" if kind == b"o" else "u" + rest.decode(errors="replace") for kind, _, rest in found
    )


async def _read_shard(shards: Shards, shard: int, limit: int, by_keys: set[bytes]) -> dict[str, Any]:
    whole = named(await shards.run("dump", shard, limit, "", empty_too=True) or [])
    if whole and (others := _others(shard, by_keys, whole["orders"])):  # read with the rest, at one instant
        whole = named(await shards.run("dump", shard, limit, "", *others, empty_too=True) or [])
    return whole or await _read_in_parts(shards, shard, by_keys)


async def _read_in_parts(shards: Shards, shard: int, by_keys: set[bytes]) -> dict[str, Any]:
    """Read a large shard bit by bit, between two readings of everything else that must be the same."""
    for _ in range(TRIES):
        before = named(await shards.run("dump", shard, 0, "", empty_too=True))
        read: dict[str, list[Any]] = {"orders": [], "buyers": [], "unlisted": []}

        async def add(*args: Arg, read: dict[str, list[Any]] = read) -> str:
            part = named(await shards.run("dump", shard, 0, *args, empty_too=True))
            for name, found in read.items():
                found.extend(part[name])
            return str(part["cursor"])

        cursor = await add("0")
        while cursor != "0":
            cursor = await add(cursor)
        others = _others(shard, by_keys, read["orders"])
        for first in range(0, len(others), PART):
            await add("named", *others[first : first + PART])
        after = named(await shards.run("dump", shard, 0, "", empty_too=True))
        if _lasting(before) == _lasting(after):
            return after | read
    raise SaleMovesError("the sale goes on and there are too many orders to read them at one instant: try again later")


def _lasting(dump: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a dump without orders says that no time alone changes."""
    snapshot = named(dump["snapshot"])
    return {**dump, "snapshot": (snapshot["totals"], snapshot["products"])}


def units_add_up(dump: LedgerDump) -> Iterator[str]:
    """`initial_stock + restocked = stock + held + sold`, for each product."""
    for product in dump.products.values():
        if product.drift:
            yield f"{product.product_id}: {product.drift} units unexplained"


def nothing_is_negative(dump: LedgerDump) -> Iterator[str]:
    """Stock, held and sold are never below 0."""
    for product in dump.products.values():
        for name in ("initial_stock", "stock", "held", "sold"):
            if getattr(product, name) < 0:
                yield f"{product.product_id}: {name} is {getattr(product, name)}"


def orders_explain_units(dump: LedgerDump) -> Iterator[str]:
    """Held is the sum over live orders, sold that over confirmed ones less what returned, and forgotten ones."""
    held, sold = dump.orders.sums.held, dump.orders.sums.sold
    for product in dump.products.values():
        if held[product.product_id] != product.held:
            yield f"{product.product_id}: held is {product.held}, its live orders hold {held[product.product_id]}"
        bought = sold[product.product_id] + product.archived
        if bought != product.sold:
            yield f"{product.product_id}: sold is {product.sold}, its orders bought {bought}"


def limits_count_right(dump: LedgerDump) -> Iterator[str]:
    """What counts against a buyer's limit is what the buyer holds or bought, by orders that are not forgotten."""
    units = dump.orders.sums.units
    for buyer in units.keys() | dump.buyers.keys():
        if units[buyer] != dump.buyers.get(buyer, 0):
            yield f"{buyer[1]} has {units[buyer]} of {buyer[0]}, counted as {dump.buyers.get(buyer, 0)}"


def totals_match_orders(dump: LedgerDump) -> Iterator[str]:
    """Each total is the number of orders that reached the status; every accepted order has one status."""
    totals, now = dump.snapshot.orders, dump.orders.sums.statuses.copy()
    now.update(dump.snapshot.archived)
    accepted, known = dump.snapshot.placed, sum(now.values())
    if accepted != known:
        yield f"{accepted} orders were accepted, {known} are there or were forgotten in time"
    now[Status.CONFIRMED] += now[Status.REFUNDED]  # it was confirmed before
    for status in (Status.CONFIRMED, Status.EXPIRED, Status.CANCELLED, Status.REFUNDED):
        if totals[status] != now[status]:
            yield f"{totals[status]} orders became {status}, {now[status]} are"
    if totals[Status.FAILED] - dump.snapshot.requeued != now[Status.FAILED]:
        yield f"{totals[Status.FAILED]} orders became failed, {now[Status.FAILED]} are"


def revenue_matches_orders(dump: LedgerDump) -> Iterator[str]:
    """Revenue is what confirmed orders cost less what was refunded, and that of forgotten ones; by currency."""
    earned = dump.orders.sums.earned.copy()
    earned.update(dump.snapshot.archived_revenue)
    for currency in earned.keys() | dump.snapshot.revenue.keys():
        counted = dump.snapshot.revenue.get(currency, 0)
        if counted != earned[currency]:
            yield f"{currency}: revenue is {counted} minor units, its orders earned {earned[currency]}"


def live_orders_are_queued_once(dump: LedgerDump) -> Iterator[str]:
    """A live order waits in one place, once: in the queue or for another attempt. Others wait nowhere."""
    sums, waiting = dump.orders.sums, dump.queued.keys() | dump.delayed
    for order_id in sums.live | (waiting & dump.orders.keys()):
        places = dump.queued[order_id] + (order_id in dump.delayed)
        if places != (order_id in sums.live):
            yield f"order {order_id} is {dump.orders[order_id].status} and waits in {places} places"
    for order_id in (dump.queued.keys() | dump.delayed | dump.deadlines | dump.dead) - dump.orders.keys():
        yield f"order {order_id} is listed and not there"


def reservations_end(dump: LedgerDump) -> Iterator[str]:
    """Every pending order has a deadline, and no other order has one."""
    pending = dump.orders.sums.pending
    for order_id in pending ^ dump.deadlines:
        yield f"order {order_id} {'has no deadline' if order_id in pending else 'has a deadline and is not pending'}"


def orders_are_listed(dump: LedgerDump) -> Iterator[str]:
    """Every order stands in the list of all orders, at the time of its acceptance."""
    for order_id in dump.unlisted:
        yield f"order {order_id} is not in the list"


def tickets_have_numbers_of_their_own(dump: LedgerDump) -> Iterator[str]:
    """Each ticket of a lot has a number of its own, below how many were given; no more than those took part in it."""
    yield from unsound(dump.lots)


def nothing_was_set_aside(dump: LedgerDump) -> Iterator[str]:
    """Nothing foreign or damaged was found in the store; `DEL {fs:NN}:damaged` once somebody has looked."""
    for what, more in dump.damaged.items():
        when, _, detail = more.partition(" ")
        yield f"{what}: {detail} (at {at(int(when)).isoformat()})"


def every_shard_is_there(dump: LedgerDump) -> Iterator[str]:
    """Every shard answers, and none has lost what it held."""
    for shard, why in dump.missing_shards.items():
        yield f"shard {shard} is missing ({why}): its products and orders cannot be read"


INVARIANTS: tuple[Callable[[LedgerDump], Iterator[str]], ...] = (
    every_shard_is_there,
    units_add_up,
    nothing_is_negative,
    orders_explain_units,
    limits_count_right,
    totals_match_orders,
    revenue_matches_orders,
    live_orders_are_queued_once,
    reservations_end,
    orders_are_listed,
    tickets_have_numbers_of_their_own,
    nothing_was_set_aside,
)


def violations(dump: LedgerDump) -> list[Violation]:
    """List everything in a dump that must not be, and first what could not be looked at."""
    return [Violation(check.__name__, detail) for check in INVARIANTS for detail in check(dump)]
