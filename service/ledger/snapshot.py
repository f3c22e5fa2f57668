"""A snapshot of the ledger: all that metrics and pages show, read at one instant in one round trip a shard."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as with_default
from datetime import datetime, timedelta
from typing import Any, Self

from pydantic import BaseModel, Field

from service.ledger.orders import COUNTED, Status, at
from service.ledger.products import Product
from service.store import Shards

STALE_SECONDS = 3.0
"""Nobody may go by a snapshot that is older: it is read once a second, and the store may be silent for two of them."""


class ProductRows:
    """Reads products, and gives the same object again for a row that has not changed since it was last read.

    Most have not from one second to the next, and to read 1 000 rows takes 5 ms.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[list[str], Product]] = {}

    def products(self, rows: Iterable[list[str]]) -> list[Product]:
        """The products of these rows."""
        last, self._last = self._last, {}
        for row in rows:
            known = last.get(row[0])
            self._last[row[0]] = known if known and known[0] == row else (row, Product.from_row(row))
        return [product for _, product in self._last.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The ledger's figures. Rates are per second, ages in seconds, times in milliseconds where named so.

    `line` are the orders that no worker has in hand, of which the first waits `waited_seconds`; `capacity` is how many
    orders the workers settle while some wait, 0 until that was seen.
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
    line: int = 0
    capacity: float = 0.0
    waited_seconds: float = 0.0

    def live_workers(self, silence: timedelta) -> list[str]:
        """Name the workers whose heartbeat is not older than `silence`: those that nobody relieves of their orders."""
        return [consumer for consumer, age in self.workers.items() if age < silence.total_seconds()]

    @property
    def waiting(self) -> int:
        """Orders that no worker has in hand."""
        return max(self.queue_length - self.processing, 0)

    @property
    def estimated_wait_seconds(self) -> float | None:
        """How long an order placed now waits, as `place.lua` promises it; None while no rate is known."""
        if self.line == 0:
            return 0.0
        return round(self.line / self.drain_rate, 3) if self.drain_rate else None

    @classmethod
    def from_shards(cls, replies: list[list[Any]], rows: "ProductRows | None" = None) -> Self:
        """Adds up what `snapshot.lua` returned for each shard; `rows` knows the products of the last snapshot."""
        totals = [dict(zip(reply[1][::2], map(int, reply[1][1::2]), strict=True)) for reply in replies]
        add = [sum(reply[index] for reply in replies) for index in range(3, 14) if index != 5]  # noqa: PLR2004
        length, processing, dead, drain, recent, settled, failed, took, promised, eta_error = add
        products = (rows or ProductRows()).products(row for reply in replies for row in reply[2])
        refused: Counter[str] = Counter()
        for reply in replies:
            refused.update(dict(zip(reply[15][::2], map(int, reply[15][1::2]), strict=True)))
        ages = [pairs for reply in replies for pairs in zip(reply[14][::2], reply[14][1::2], strict=True)]
        return cls(
            taken_at=at(min(reply[0] for reply in replies)),
            orders={status: sum(total.get(status, 0) for total in totals) for status in COUNTED},
            requeued=sum(total.get("requeued", 0) for total in totals),
            products=tuple(sorted(products, key=lambda product: product.product_id)),
            queue_length=length,
            processing=processing,
            oldest_age_seconds=max(reply[5] for reply in replies) / 1000,
            dead_letters=dead,
            drain_rate=drain / 1000,
            throughput=recent / 10,
            error_rate=100 * failed / settled if settled else 0.0,
            processing_time_avg_ms=took / settled if settled else 0.0,
            eta_error_seconds=eta_error / promised / 1000 if promised else 0.0,
            workers={consumer: int(age) / 1000 for consumer, age in ages},
            rejections=dict(refused),
            archived={s: n for s in COUNTED if (n := sum(total.get(f"archived:{s}", 0) for total in totals))},
            line=sum(reply[16] for reply in replies),
            capacity=sum(reply[17] for reply in replies) / 1000,
            waited_seconds=max(reply[18] for reply in replies) / 1000,
        )


class QueueView(BaseModel):
    """The queue as it is now."""

    length: int = Field(description="orders waiting or being processed")
    pending: int = Field(description="orders that no worker has in hand")
    oldest_age_seconds: float
    drain_rate: float = Field(description="orders settled per second over the last 10 s")
    dead_letters: int

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """The queue's part of a snapshot."""
        return cls(
            length=snapshot.queue_length,
            pending=snapshot.waiting,
            oldest_age_seconds=snapshot.oldest_age_seconds,
            drain_rate=snapshot.throughput,
            dead_letters=snapshot.dead_letters,
        )


async def take_snapshot(shards: Shards, rows: ProductRows | None = None) -> Snapshot:
    """Reads every shard; `rows` knows the products of the last snapshot.

    Raises:
        redis.exceptions.RedisError: the store is down.
    """
    return Snapshot.from_shards([await shards.run("snapshot", shard) for shard in shards], rows)
