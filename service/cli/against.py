"""`flash-sale audit --against`: the store is held against what others were told, for orders that it does not have."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli.admin_log import admin_act
from service.cli.errors import OperatorError
from service.cli.streams import write_line

if TYPE_CHECKING:
    from service.ledger.lost import Missing
    from service.orders.payments.captures import Capture
    from service.settings import Settings
    from service.store import Shards


class ReconciliationSource(StrEnum):
    """Who was told of orders."""

    BANK = "bank"
    EVENTS = "events"
    TRACES = "traces"


@dataclass(slots=True)
class Comparison:
    """What the comparison found, and what was done about it."""

    source: ReconciliationSource
    missing: "Missing"
    captures: "dict[str, list[Capture]]"
    """What the bank has captured of orders that are gone and has not given back, by order."""
    refunded: int = 0
    not_refunded: list[str] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether somebody still has to do something."""
        return bool(self.missing.gone or self.captures or self.not_refunded)


async def compare(
    shards: "Shards", settings: "Settings", source: ReconciliationSource, file: Path | None, *, refund: bool
) -> Comparison:
    """Hold the store against what somebody else was told.

    Args:
        shards: The store.
        settings: The service's settings.
        source: Who was told of orders.
        file: What it was told, in a file; None: the payment gateway is asked.
        refund: Whether the captures of orders that are gone are given back, and the orders booked as lost.

    Raises:
        OperatorError: The source cannot be read.
    """
    from service.ledger.lost import find_missing
    from service.orders.payments.captures import CapturesUnreadableError

    retention = settings.order_retention_seconds
    before = None if retention is None else datetime.now(UTC) - timedelta(seconds=retention)
    try:
        told = [capture async for capture in _told(settings, source, file)]
    except CapturesUnreadableError as error:
        raise OperatorError(f"{file or 'PAYMENT_GATEWAY_URL'}: {error}") from None
    ids = [capture.order_id for capture in told]
    missing = await find_missing(shards, ids, forgotten_before=before)
    gone = {*missing.gone, *missing.booked}
    captures: dict[str, list[Capture]] = {}
    for capture in told:
        if capture.order_id in gone and not capture.refunded and source is ReconciliationSource.BANK:
            captures.setdefault(capture.order_id, []).append(capture)
    found = Comparison(source, missing, captures)
    if refund and gone:
        with admin_act(f"audit --against {source} --refund", "booked") as results:
            await _give_back(settings, found)
            found.missing = await find_missing(shards, ids, forgotten_before=before, book=True)
            results.update(dict.fromkeys(found.missing.booked, "booked"))
    return found


async def _told(settings: "Settings", source: ReconciliationSource, file: Path | None) -> "AsyncIterator[Capture]":
    from service.orders.payments.captures import (
        captures_in,
        captures_of_gateway,
        orders_in_events,
        orders_in_traces,
    )

    if file is None:
        if source is not ReconciliationSource.BANK:
            raise OperatorError(f"--against {source} needs --from FILE")
        if settings.payment.gateway_url is None:
            raise OperatorError("PAYMENT_GATEWAY_URL: the simulated gateway keeps no books; name a file with --from")
        async for capture in captures_of_gateway(settings.payment.gateway_url.get_secret_value()):
            yield capture
        return
    readers = {
        ReconciliationSource.BANK: captures_in,
        ReconciliationSource.EVENTS: orders_in_events,
        ReconciliationSource.TRACES: orders_in_traces,
    }
    try:
        with file.open(encoding="utf-8") as lines:
            for capture in readers[source](lines):
                yield capture
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{file}: {getattr(error, 'strerror', None) or 'is no text'}") from None


async def _give_back(settings: "Settings", found: Comparison) -> None:
    """Give back what was captured for orders that are gone; what is done is taken off `captures`."""
    from opentelemetry.trace import NoOpTracerProvider

    from service.orders.payments import Charge, PaymentError, gateway

    if found.captures and settings.payment.gateway_url is None:
        raise OperatorError("PAYMENT_GATEWAY_URL: payments are simulated, so nothing can be given back")
    bank = gateway(settings.payment, NoOpTracerProvider())
    try:
        for order_id, captures in list(found.captures.items()):
            for capture in captures:
                if capture.amount is None or capture.currency is None:
                    found.not_refunded.append(f"{order_id}: no amount was told")
                    continue
                key = capture.charge_key or order_id
                charge = Charge(order_id, "", capture.amount, capture.currency, key)
                try:
                    await bank.refund(charge, payment_id=capture.payment_id)
                except PaymentError as error:
                    found.not_refunded.append(f"{order_id}: {error}")
                else:
                    found.refunded += 1
            del found.captures[order_id]
    finally:
        await bank.aclose()


def report(found: Comparison) -> None:
    """Say what was found, a line for each order that is gone."""
    missing = found.missing
    gone = len(missing.gone) + len(missing.booked)
    write_line("")
    write_line(f"against {found.source}: {missing.asked} orders, {missing.there} are there, {gone} are gone")
    for word, ids in (("GONE", missing.gone), ("lost", missing.booked)):
        for order_id in ids:
            kept = [f"{capture.amount} {capture.currency}" for capture in found.captures.get(order_id, ())]
            write_line(f"{word:<7} {order_id}{'  captured: ' if kept else ''}{', '.join(kept)}")
    for why in found.not_refunded:
        write_line(f"{'BROKEN':<7} not given back: {why}")
    if missing.forgotten:
        write_line(f"{missing.forgotten} are old enough to have been forgotten after their retention")
    if missing.unknown:
        write_line(f"{missing.unknown} are in shards that do not answer: nothing can be said of them")
    if missing.booked:
        write_line(f"{len(missing.booked)} are booked as lost, {found.refunded} captures were given back now")
    elif missing.gone:
        write_line("--refund gives their captures back and books them as lost")


def as_json(found: Comparison) -> dict[str, object]:
    """Return what was found as JSON has it."""
    captured = {order_id: [one.model_dump() for one in several] for order_id, several in found.captures.items()}
    return {
        "against": str(found.source),
        "there": found.missing.there,
        "gone": found.missing.gone,
        "booked": found.missing.booked,
        "forgotten": found.missing.forgotten,
        "unknown": found.missing.unknown,
        "captured": captured,
        "refunded": found.refunded,
        "not_refunded": found.not_refunded,
    }
