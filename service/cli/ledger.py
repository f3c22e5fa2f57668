"""The commands that look into the store: `audit` and `dead-letters`."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from service.ledger.audit import LedgerDump, Violation
    from service.ledger.orders import Order
    from service.settings import Settings
    from service.store import Shards

T = TypeVar("T")

OrderIds = Annotated[list[str] | None, typer.Argument(metavar="[ORDER_ID]...", help="which; or --all")]
All = Annotated[bool, typer.Option("--all", help="all of them")]
Json = Annotated[bool, typer.Option("--json", help="as JSON")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("audit")(audit)
    letters = typer.Typer(
        no_args_is_help=True, help="Orders that could not be processed: look at them, try again, or drop."
    )
    letters.command("list")(list_letters)
    letters.command("requeue")(requeue_letters)
    letters.command("drop")(drop_letters)
    app.add_typer(letters, name="dead-letters")


def audit(as_json: Json = False) -> None:
    """Check every invariant in the store and print it; status 1 when one is broken.

    Looks into REDIS_URL, or into the embedded store in DATA_DIR, whether a service runs on it or not.
    """
    dump, found = asyncio.run(_in_store(_audit))
    _report_json(dump, found) if as_json else _report(dump, found)
    raise typer.Exit(1 if found else 0)


async def _audit(shards: "Shards", _: "Settings") -> "tuple[LedgerDump, list[Violation]]":
    from service.ledger.audit import dump_ledger, violations

    dump = await dump_ledger(shards)
    return dump, violations(dump)


def _report(dump: "LedgerDump", found: "list[Violation]") -> None:
    from service.ledger.audit import INVARIANTS

    broken = {violation.invariant for violation in found}
    for check in INVARIANTS:
        rule = (check.__doc__ or "").strip().splitlines()[0]
        sys.stdout.write(f"{'BROKEN' if check.__name__ in broken else 'ok':<7} {check.__name__:<28} {rule}\n")
        for violation in found:
            if violation.invariant == check.__name__:
                sys.stdout.write(f"        {violation.detail}\n")
    orders = ", ".join(f"{count} {status}" for status, count in dump.snapshot.orders.items())
    again = f", {dump.snapshot.requeued} requeued" if dump.snapshot.requeued else ""
    sys.stdout.write(f"\n{len(dump.products)} products, {len(dump.orders)} orders; reached: {orders}{again}\n")
    if dump.snapshot.archived:
        forgotten = ", ".join(f"{count} {status}" for status, count in dump.snapshot.archived.items())
        sys.stdout.write(f"forgotten after their retention: {forgotten}\n")
    sys.stdout.write(f"{len(found)} breaches\n" if found else "clean\n")


def _report_json(dump: "LedgerDump", found: "list[Violation]") -> None:
    from service.ledger.audit import INVARIANTS

    report = {
        "clean": not found,
        "invariants": {
            check.__name__: [violation.detail for violation in found if violation.invariant == check.__name__]
            for check in INVARIANTS
        },
        "orders": {str(status): count for status, count in dump.snapshot.orders.items()},
        "requeued": dump.snapshot.requeued,
        "orders_stored": len(dump.orders),
        "orders_forgotten": {str(status): count for status, count in dump.snapshot.archived.items()},
        "products": len(dump.products),
        "queue_length": dump.snapshot.queue_length,
        "dead_letters": dump.snapshot.dead_letters,
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def list_letters(as_json: Json = False) -> None:
    """List the dead letters, those that died first at the head."""
    orders = asyncio.run(_in_store(_dead))
    if as_json:
        fields = ("order_id", "product_id", "user_id", "quantity", "attempts", "reason")
        rows = [{n: getattr(o, n) for n in fields} | {"died_at": _time(o.settled_at)} for o in orders]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    for order in orders:
        what = f"{order.quantity} x {order.product_id} for {order.user_id}"
        sys.stdout.write(
            f"{order.order_id}  {_time(order.settled_at)}  {order.attempts} attempts  {order.reason}  {what}\n"
        )
    sys.stdout.write(f"{len(orders)} dead letters\n")


def requeue_letters(order_ids: OrderIds = None, everything: All = False) -> None:
    """Reserve the units anew and put the orders back into the queue; status 1 when that cannot be done for one."""
    from service.ledger.dead_letters import DeadLetters

    _check(order_ids, everything=everything)

    async def requeue(shards: "Shards", settings: "Settings") -> dict[str, str]:
        chosen = await _chosen(shards, order_ids, everything=everything)
        keep = timedelta(seconds=settings.reservation_ttl_seconds)
        return {key: str(result) for key, result in (await DeadLetters(shards).requeue(chosen, keep)).items()}

    _tell(asyncio.run(_in_store(requeue)), "requeued")


def drop_letters(order_ids: OrderIds = None, everything: All = False) -> None:
    """Take orders off the list for good; they stay failed. Status 1 when one was not on it."""
    from service.ledger.dead_letters import DeadLetters

    _check(order_ids, everything=everything)

    async def drop(shards: "Shards", _: "Settings") -> dict[str, str]:
        chosen = await _chosen(shards, order_ids, everything=everything)
        dropped = await DeadLetters(shards).drop(chosen)
        return {order_id: "dropped" if done else "not_dead" for order_id, done in dropped.items()}

    _tell(asyncio.run(_in_store(drop)), "dropped")


def _tell(results: dict[str, str], good: str) -> None:
    for order_id, result in results.items():
        sys.stdout.write(f"{order_id}  {result}\n")
    sys.stdout.write(f"{sum(result == good for result in results.values())} {good}\n")
    raise typer.Exit(1 if any(result != good for result in results.values()) else 0)


def offer_demo() -> None:
    """Put the demo catalogue into a store that has no products."""
    from service.ledger.catalogue import ProductCatalogue
    from service.ledger.demo import stock_demo

    async def offer(shards: "Shards", _: "Settings") -> None:
        await stock_demo(ProductCatalogue(shards))

    asyncio.run(_in_store(offer))


async def _dead(shards: "Shards", _: "Settings") -> "list[Order]":
    from service.ledger.dead_letters import DeadLetters

    return await DeadLetters(shards).list()


def _check(order_ids: list[str] | None, *, everything: bool) -> None:
    if everything == bool(order_ids):
        raise typer.BadParameter("name the orders, or say --all")


async def _chosen(shards: "Shards", order_ids: list[str] | None, *, everything: bool) -> list[str]:
    from service.ledger.dead_letters import DeadLetters
    from service.ledger.orders import ORDER_ID, shard_of_order

    if everything:
        return [order.order_id for order in await DeadLetters(shards).list()]
    for order_id in order_ids or ():
        if not re.fullmatch(ORDER_ID, order_id) or shard_of_order(order_id) >= shards.count:
            raise typer.BadParameter(f"{order_id!r} is not an order id")
    return order_ids or []


async def _in_store(work: "Callable[[Shards, Settings], Awaitable[T]]") -> T:
    async with _store() as (shards, settings):
        return await work(shards, settings)


@asynccontextmanager
async def _store() -> "AsyncIterator[tuple[Shards, Settings]]":
    from service.processes.fleet import store_of
    from service.processes.startup import open_shards
    from service.settings import Settings
    from telemetry import configure_logging

    settings = Settings.from_env(os.environ)
    configure_logging(level="ERROR", stream=sys.stderr, json=settings.log_format == "json")
    patient = settings.model_copy(update={"store_timeout_seconds": 30.0})
    with ExitStack() as stack:
        url, store = store_of(settings, stack)
        if store is not None:
            store.start()
        async with open_shards(patient, url, name="flash-sale-cli", wait_seconds=2) as shards:
            yield shards, settings


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else "-"
