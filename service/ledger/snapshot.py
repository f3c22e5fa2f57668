"""A snapshot of the ledger: all that metrics and pages show, read at one instant in one round trip a shard."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as with_default
from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from service.ledger.orders import COUNTED, Status, at
from service.ledger.products import ROW, Product
from service.store import Shards, named

ID = ROW.index("product")
STALE_SECONDS = 3.0
"""Nobody may go by a snapshot that is older: it is read once a second, and the store may be silent for two of them."""


class ProductRows:
    """Reads products, and gives the same object again for a row that has not changed since it was last read.

    Most have not from one second to the next, and to read 1 000 rows takes 5 ms. `replies` is each shard's last word.
    """

    def __init__(self) -> None:
        self.replies: dict[int, list[Any]] = {}
        self._last: dict[str, tuple[list[str], Product]] = {}

    def products(self, rows: Iterable[list[str]]) -> list[Product]:
        """Return the products of these rows."""
        last, self._last = self._last, {}
        for row in rows:
            name = row[ID]
            known = last.get(name)
            self._last[name] = known if known and known[0] == row else (row, Product.from_row(row))
        return [product for _, product in self._last.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The ledger's figures. Rates are per second, ages in seconds, times in milliseconds where named so.

    `waiting` are the orders that no worker has in hand; the first has waited `waited_seconds`. `capacity` is how
    many orders the workers settle while some wait, 0 until that was seen. `revenue` is by currency, in minor units:
    what was confirmed less what was refunded; `archived_revenue` is that of the orders that were forgotten.
    `placed` are the orders that were accepted, and of those `placed_by_ticket` the ones that had to show a ticket.
    `webhook_expired` are the changes that are no longer kept and that the webhook had not been told of.
    `missing_shards` did not answer: the figures are of the others, but what is counted (`orders`, `revenue`,
    `rejections`, `archived`, `events`) is as they last said, and not `complete` where one was never heard.
    """

    taken_at: datetime
    orders: dict[Status, int]
    requeued: int
    products: tuple[Product, ...]
    queue_length: int
    processing: int
    oldest_age_seconds: float
    dead_letters: int
    drain_rate: float
    throughput: float
    error_rate: float
    processing_time_avg_ms: float
    eta_error_seconds: float
    workers: dict[str, float] = with_default(default_factory=dict)
    rejections: dict[str, int] = with_default(default_factory=dict)
    archived: dict[Status, int] = with_default(default_factory=dict)
    events: dict[Status, int] = with_default(default_factory=dict)
    revenue: dict[str, int] = with_default(default_factory=dict)
    archived_revenue: dict[str, int] = with_default(default_factory=dict)
    damaged: int = 0
    lost: int = 0
    placed_by_ticket: int = 0
    waiting: int = 0
    capacity: float = 0.0
    waited_seconds: float = 0.0
    webhook_lag_seconds: float = 0.0
    webhook_expired: int = 0
    missing_shards: tuple[int, ...] | None = None
    complete: bool = True

    def live_workers(self, silence: timedelta) -> list[str]:
        """Name the workers whose heartbeat is not older than `silence`: those that nobody relieves of their orders."""
        return [consumer for consumer, age in self.workers.items() if age < silence.total_seconds()]

    @property
    def placed(self) -> int:
        """How many orders were accepted: a dead letter that is requeued is pending again, and is no other order."""
        return self.orders[Status.PENDING] - self.requeued

    @property
    def estimated_wait_seconds(self) -> float | None:
        """How long an order placed now waits, as `place.lua` promises it; None while no rate is known."""
        if self.waiting == 0:
            return 0.0
        return round(self.waiting / self.drain_rate, 3) if self.drain_rate else None

    @classmethod
    def from_shards(
        cls,
        replies: list[list[Any]],
        rows: "ProductRows | None" = None,
        missing: Mapping[int, list[Any] | None] | None = None,
    ) -> Self:
        """Add up what `snapshot.lua` returned for each shard.

        Args:
            replies: Of the shards that answered.
            rows: Knows the products of the last snapshot.
            missing: The others, and what each said last; None where there is one shard.
        """
        shards = [named(reply) for reply in replies]
        heard = shards + [named(reply) for reply in (missing or {}).values() if reply]

        def total(name: str) -> int:
            return sum(shard[name] for shard in shards)

        settled, promised = total("settled"), total("promised")
        products = (rows or ProductRows()).products(row for shard in shards for row in shard["products"])
        return cls(
            taken_at=at(min(shard["now"] for shard in shards)),
            **_of_totals(_counted(heard, "totals")),
            products=tuple(sorted(products, key=lambda product: product.product_id)),
            queue_length=total("queue_length"),
            waiting=total("waiting"),
            processing=total("processing"),
            oldest_age_seconds=max(shard["oldest_ms"] for shard in shards) / 1000,
            waited_seconds=max(shard["waited_ms"] for shard in shards) / 1000,
            webhook_lag_seconds=max(shard["webhook_lag_ms"] for shard in shards) / 1000,
            dead_letters=total("dead_letters"),
            damaged=total("damaged"),
            drain_rate=total("drain") / 1000,
            capacity=total("capacity") / 1000,
            throughput=total("settled_10s") / 10,
            error_rate=100 * total("failed") / settled if settled else 0.0,
            processing_time_avg_ms=total("took_ms") / settled if settled else 0.0,
            eta_error_seconds=total("eta_error_ms") / promised / 1000 if promised else 0.0,
            workers={name: int(age) / 1000 for shard in shards for name, age in named(shard["workers"]).items()},
            rejections=dict(_counted(heard, "refused")),
            missing_shards=None if missing is None else tuple(missing),
            complete=None not in (missing or {}).values(),
        )


def _counted(shards: Iterable[Mapping[str, Any]], name: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for shard in shards:
        found.update({what: int(count) for what, count in named(shard[name]).items()})
    return found


def _of_totals(totals: Counter[str]) -> dict[str, Any]:
    """Return what follows from the totals of all shards."""
    return {
        "orders": {status: totals[status] for status in COUNTED},
        "requeued": totals["requeued"],
        "placed_by_ticket": totals["by_ticket"],
        "lost": totals["lost"],
        "webhook_expired": totals["webhook_expired"],
        "archived": {status: count for status in COUNTED if (count := totals[f"archived:{status}"])},
        "events": {status: totals["refunds" if status is Status.REFUNDED else status] for status in COUNTED},
        "revenue": _by_currency(totals, "revenue:"),
        "archived_revenue": _by_currency(totals, "archived:revenue:"),
    }


def _by_currency(totals: Mapping[str, int], total: str) -> dict[str, int]:
    return {name.removeprefix(total): sum_ for name, sum_ in sorted(totals.items()) if name.startswith(total)}


MissingShards = Annotated[
    tuple[int, ...] | None,
    Field(
        description="shards that did not answer: what they hold is not in here; left out where there is one shard",
        exclude_if=lambda shards: shards is None,
    ),
]


class QueueView(BaseModel):
    """The queue as it is now."""

    length: int = Field(description="orders waiting or being processed")
    pending: int = Field(description="orders that no worker has in hand")
    oldest_age_seconds: float
    drain_rate: float = Field(description="orders settled per second over the last 10 s")
    dead_letters: int
    missing_shards: MissingShards = None

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """Return the queue's part of a snapshot."""
        return cls(
            length=snapshot.queue_length,
            pending=snapshot.waiting,
            oldest_age_seconds=snapshot.oldest_age_seconds,
            drain_rate=snapshot.throughput,
            dead_letters=snapshot.dead_letters,
            missing_shards=snapshot.missing_shards,
        )


async def take_snapshot(shards: Shards, rows: ProductRows | None = None) -> Snapshot:
    """Read every shard, all at once; `rows` is kept by the caller from one reading to the next.

    Raises:
        redis.exceptions.RedisError: No shard answers.
    """
    rows = rows or ProductRows()
    found = await shards.gather("snapshot")
    rows.replies |= found.replies
    missing = None if found.missing is None else {shard: rows.replies.get(shard) for shard in found.missing}
    return Snapshot.from_shards(list(found.replies.values()), rows, missing)


def told_snapshot(shards: Shards, rows: ProductRows, replies: Mapping[str, list[Any]]) -> Snapshot:
    """Return the snapshot that another process has taken: every shard answered it with `replies`."""
    rows.replies = {int(shard): reply for shard, reply in replies.items()}
    return Snapshot.from_shards(list(rows.replies.values()), rows, None if shards.count == 1 else {})
