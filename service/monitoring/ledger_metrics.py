"""How the instruments of the ledger are read: from the newest snapshot, at each scrape."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from operator import attrgetter

from service.ledger.feed import EVENT_TYPES
from service.ledger.snapshot import Snapshot
from service.metrics import (
    DAMAGED,
    DEAD_LETTERS,
    DRIFT,
    ERROR_RATE,
    ETA_ERROR,
    EVENTS,
    HELD,
    INVENTORY,
    LIVE_WORKERS,
    LOST,
    MISSING_SHARDS,
    OLDEST_AGE,
    OPEN,
    ORDERS,
    PLACED,
    PREDICTED_WAIT,
    PROCESSING_TIME,
    QUEUE_LENGTH,
    REASONS,
    REJECTIONS,
    REVENUE,
    SOLD,
    STORE_MEMORY,
    STORE_MEMORY_LIMIT,
    THROUGHPUT,
    TICKETS_ADMITTED,
    TICKETS_GIVEN,
    WEBHOOK_EXPIRED,
    WEBHOOK_LAG,
)
from service.store.memory import StoreMemory
from telemetry import GaugeSpec, Telemetry

Labels = dict[str, str | int | bool]

_OF_THE_LEDGER: tuple[tuple[GaugeSpec, Callable[[Snapshot], float]], ...] = (
    (QUEUE_LENGTH, lambda s: s.queue_length),
    (THROUGHPUT, lambda s: s.throughput),
    (ERROR_RATE, lambda s: s.error_rate),
    (PROCESSING_TIME, lambda s: s.processing_time_avg_ms),
    (OLDEST_AGE, lambda s: s.oldest_age_seconds),
    (DEAD_LETTERS, lambda s: s.dead_letters),
    (DAMAGED, lambda s: s.damaged),
    (MISSING_SHARDS, lambda s: len(s.missing_shards or ())),
    (PREDICTED_WAIT, lambda s: s.queue_length / s.drain_rate if s.drain_rate else 0.0),
    (ETA_ERROR, lambda s: s.eta_error_seconds),
    (TICKETS_GIVEN, lambda s: sum(product.tickets_given for product in s.products if product.by_ticket)),
    (TICKETS_ADMITTED, lambda s: sum(product.tickets_admitted or 0 for product in s.products if product.by_ticket)),
)
_OF_PRODUCTS: tuple[tuple[GaugeSpec, Callable[[Snapshot], Iterable[float]]], ...] = (
    (INVENTORY, lambda s: map(attrgetter("stock"), s.products)),
    (HELD, lambda s: map(attrgetter("held"), s.products)),
    (SOLD, lambda s: map(attrgetter("sold"), s.products)),
    (OPEN, lambda s: [product.is_open(s.taken_at) for product in s.products]),
    (DRIFT, lambda s: map(attrgetter("drift"), s.products)),
)


def _by_admission(snapshot: Snapshot) -> dict[str, int]:
    return {"open": snapshot.placed - snapshot.placed_by_ticket, "ticket": snapshot.placed_by_ticket}


def observe_ledger(telemetry: Telemetry, latest: Callable[[], Snapshot | None], *, silence: timedelta) -> None:
    """Export what `latest` returns at each scrape; nothing while it returns None.

    Args:
        telemetry: Where.
        latest: The newest snapshot that this process exports, if there is one.
        silence: After how long without a heartbeat a worker counts as dead.
    """

    def figure(of: Callable[[Snapshot], float]) -> Callable[[], Iterable[tuple[float, Labels]]]:
        return lambda: [(of(snapshot), {})] if (snapshot := latest()) else []

    def per_product(of: Callable[[Snapshot], Iterable[float]]) -> Callable[[], Iterable[tuple[float, Labels]]]:
        def read() -> Iterable[tuple[float, Labels]]:
            snapshot = latest()
            if snapshot is None:
                return ()
            labels: list[Labels] = [{"product_id": product.product_id} for product in snapshot.products]
            return zip(of(snapshot), labels, strict=True)

        return read

    def counts(label: str, of: Callable[[Snapshot], Mapping[str, int]]) -> Callable[[], Iterable[tuple[float, Labels]]]:
        def read() -> Iterable[tuple[float, Labels]]:
            snapshot = latest()
            counted = of(snapshot) if snapshot and snapshot.complete else {}
            return [(count, {label: str(name)}) for name, count in counted.items()]

        return read

    telemetry.observe(ORDERS, counts("status", attrgetter("orders")))
    telemetry.observe(PLACED, counts("admission", _by_admission))
    telemetry.observe(REVENUE, counts("currency", attrgetter("revenue")))
    telemetry.observe(REJECTIONS, counts("reason", lambda s: {why: s.rejections.get(why, 0) for why in REASONS}))
    telemetry.observe(LOST, lambda: [(one.lost, {})] if (one := latest()) and one.complete else [])
    telemetry.observe(EVENTS, counts("type", lambda s: {EVENT_TYPES[type_]: n for type_, n in s.events.items()}))
    telemetry.observe(LIVE_WORKERS, figure(lambda snapshot: len(snapshot.live_workers(silence))))
    for spec, of in _OF_THE_LEDGER:
        telemetry.observe(spec, figure(of))
    for spec, of_product in _OF_PRODUCTS:
        telemetry.observe(spec, per_product(of_product))


def observe_store_memory(telemetry: Telemetry, latest: Callable[[], StoreMemory | None]) -> None:
    """Export how full the store is, as `latest` says at each scrape; nothing while it returns None."""

    def read(of: Callable[[StoreMemory], int]) -> Callable[[], Iterable[tuple[float, Labels]]]:
        return lambda: [(of(memory), {})] if (memory := latest()) else []

    telemetry.observe(STORE_MEMORY, read(lambda memory: memory.used_bytes))
    telemetry.observe(STORE_MEMORY_LIMIT, read(lambda memory: memory.limit_bytes))


def observe_webhook(telemetry: Telemetry, latest: Callable[[], Snapshot | None]) -> None:
    """Export how far the webhook is behind and what it missed, as `latest` says; nothing while it returns None."""
    telemetry.observe(WEBHOOK_LAG, lambda: [(s.webhook_lag_seconds, {})] if (s := latest()) else [])
    telemetry.observe(WEBHOOK_EXPIRED, lambda: [(s.webhook_expired, {})] if (s := latest()) and s.complete else [])
