"""The commands that look into the store: `audit` and `dead-letters`."""

import asyncio
import json
import sys
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.admin_log import admin_act
from service.cli.against import ReconciliationSource
from service.cli.errors import OperatorError
from service.cli.store import check_order_ids, in_store, time_text
from service.cli.streams import write_line

if TYPE_CHECKING:
    from service.cli.against import Comparison
    from service.ledger.audit import LedgerDump, Violation
    from service.ledger.migration import Migration
    from service.ledger.orders import Order
    from service.settings import Settings
    from service.store import Shards

OrderIds = Annotated[list[str] | None, typer.Argument(metavar="ORDER_ID", help="which; or --all")]
All = Annotated[bool, typer.Option("--all", help="all of them")]
Json = Annotated[bool, typer.Option("--json", help="as JSON")]
Against = Annotated[
    ReconciliationSource | None, typer.Option("--against", help="who was told of orders, for those that are gone")
]
FromFile = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="file of what it was told: charges as NDJSON or order ids; events as NDJSON; OTLP traces in JSON lines",
    ),
]
Refund = Annotated[
    bool, typer.Option("--refund", help="give the money of orders that are gone back, book them as lost")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("audit")(audit)
    app.command("migrate")(migrate)
    letters = typer.Typer(
        no_args_is_help=True, help="Orders that could not be processed: look at them, try again, or drop."
    )
    letters.command("list")(list_letters)
    letters.command("requeue")(requeue_letters)
    letters.command("drop")(drop_letters)
    app.add_typer(letters, name="dead-letters")


def audit(as_json: Json = False, source: Against = None, file: FromFile = None, refund: Refund = False) -> None:
    """Check every invariant in the store and print it; status 1 when one is broken, or when an order is gone.

    Looks into REDIS_URL, or into the embedded store in DATA_DIR, whether a service runs on it or not.
    """
    if source is None and (file is not None or refund):
        raise typer.BadParameter("--from and --refund go with --against")

    async def audited(
        shards: "Shards", settings: "Settings"
    ) -> "tuple[LedgerDump, list[Violation], str, Comparison | None]":
        from service.cli.against import compare
        from service.ledger.audit import dump_ledger, violations
        from service.processes.fleet import store_name

        dump = await dump_ledger(shards)
        told = await compare(shards, settings, source, file, refund=refund) if source else None
        return dump, violations(dump), store_name(settings), told

    dump, found, where, told = asyncio.run(in_store(audited))
    _report_json(dump, found, where, told) if as_json else _report(dump, found, where, told)
    raise typer.Exit(1 if found or (told and told.open) else 0)


def migrate(as_json: Json = False) -> None:
    """Bring a store that an older version made forward to the form of this one; end what runs on it first.

    Safe to stop and to do again. A store in this form already is left as it is, one in a newer form is refused.
    """
    done, where = asyncio.run(in_store(_migrate, prepare=False))
    if as_json:
        report = {"store": where, "from": done.before, "to": done.after, "orders": done.orders, "shards": done.shards}
        sys.stdout.write(json.dumps({**report, "forgotten": done.forgotten}, indent=2) + "\n")
        return
    write_line(f"store   {where}")
    if done.before == done.after:
        write_line(f"form {done.after} already: nothing to do")
    else:
        write_line(f"form {done.before} -> {done.after}: {done.orders} orders listed in {done.shards} shards")
        if done.forgotten:
            write_line(
                f"revenue lacks {done.forgotten} orders that were forgotten before: what they earned is not known"
            )


async def _migrate(shards: "Shards", settings: "Settings") -> "tuple[Migration, str]":
    from service.ledger.migration import StoreInUseError, bring_forward, schema_version_of
    from service.processes.fleet import store_name

    try:
        form = await schema_version_of(shards)
    except StoreInUseError as error:
        raise OperatorError(f"{store_name(settings)}: {error}") from None
    with admin_act("migrate", ""):
        return await bring_forward(shards, form), store_name(settings)


def _report(dump: "LedgerDump", found: "list[Violation]", where: str, told: "Comparison | None") -> None:
    from service.cli.against import report
    from service.ledger.audit import INVARIANTS

    write_line(f"{'store':<7} {where}")
    broken = {violation.invariant for violation in found}
    width = max(len(check.__name__) for check in INVARIANTS)
    for check in INVARIANTS:
        rule = (check.__doc__ or "").strip().splitlines()[0]
        write_line(f"{'BROKEN' if check.__name__ in broken else 'ok':<7} {check.__name__:<{width}} {rule}")
        for violation in found:
            if violation.invariant == check.__name__:
                write_line(f"{'':<7} {violation.detail}")
    orders = ", ".join(f"{count} {status}" for status, count in dump.snapshot.orders.items())
    again = f", {dump.snapshot.requeued} requeued" if dump.snapshot.requeued else ""
    write_line("")
    write_line(f"{len(dump.products)} products, {len(dump.orders)} orders; reached: {orders}{again}")
    if dump.snapshot.archived:
        forgotten = ", ".join(f"{count} {status}" for status, count in dump.snapshot.archived.items())
        write_line(f"forgotten after their retention: {forgotten}")
    if dump.snapshot.lost:
        write_line(f"booked as lost: {dump.snapshot.lost} orders that were acknowledged and are not there")
    write_line(f"{len(found)} breaches" if found else "clean")
    if told:
        report(told)


def _report_json(dump: "LedgerDump", found: "list[Violation]", where: str, told: "Comparison | None") -> None:
    from service.cli.against import as_json
    from service.ledger.audit import INVARIANTS

    report = {
        "store": where,
        "clean": not found,
        "invariants": {
            check.__name__: [violation.detail for violation in found if violation.invariant == check.__name__]
            for check in INVARIANTS
        },
        "orders": {str(status): count for status, count in dump.snapshot.orders.items()},
        "requeued": dump.snapshot.requeued,
        "lost": dump.snapshot.lost,
        "orders_stored": len(dump.orders),
        "orders_forgotten": {str(status): count for status, count in dump.snapshot.archived.items()},
        "products": len(dump.products),
        "queue_length": dump.snapshot.queue_length,
        "dead_letters": dump.snapshot.dead_letters,
    } | ({"against": as_json(told)} if told else {})
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def list_letters(as_json: Json = False) -> None:
    """List the dead letters, those that died first at the head."""
    orders = asyncio.run(in_store(_dead))
    if as_json:
        fields = ("order_id", "product_id", "user_id", "quantity", "attempts", "reason")
        rows = [{n: getattr(o, n) for n in fields} | {"died_at": time_text(o.settled_at)} for o in orders]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    for order in orders:
        what = f"{order.quantity} x {order.product_id} for {order.user_id}"
        write_line(
            f"{order.order_id}  {time_text(order.settled_at)}  {order.attempts} attempts  {order.reason}  {what}"
        )
    write_line(f"{len(orders)} dead letters")


def requeue_letters(order_ids: OrderIds = None, everything: All = False, as_json: Json = False) -> None:
    """Reserve the units anew and put the orders back into the queue; status 1 when that cannot be done for one."""
    from service.ledger.dead_letters import DeadLetters

    _check(order_ids, everything=everything)

    async def requeue(shards: "Shards", settings: "Settings") -> dict[str, str]:
        chosen = await _chosen(shards, order_ids)
        keep = timedelta(seconds=settings.reservation_ttl_seconds)
        with _act("requeue", order_ids, "requeued") as results:
            found = await DeadLetters(shards).requeue(chosen, keep)
            results.update({order_id: str(result) for order_id, result in found.items()})
        return results

    _tell(asyncio.run(in_store(requeue)), "requeued", as_json=as_json)


def drop_letters(order_ids: OrderIds = None, everything: All = False, as_json: Json = False) -> None:
    """Take orders off the list for good; they stay failed. Status 1 when one was not on it."""
    from service.ledger.dead_letters import DeadLetters

    _check(order_ids, everything=everything)

    async def drop(shards: "Shards", _: "Settings") -> dict[str, str]:
        chosen = await _chosen(shards, order_ids)
        with _act("drop", order_ids, "dropped") as results:
            dropped = await DeadLetters(shards).drop(chosen)
            results.update({order_id: "dropped" if done else "not_dead" for order_id, done in dropped.items()})
        return results

    _tell(asyncio.run(in_store(drop)), "dropped", as_json=as_json)


def _act(name: str, order_ids: list[str] | None, good: str) -> AbstractContextManager[dict[str, str]]:
    return admin_act(" ".join(["dead-letters", name, *(order_ids or ["--all"])]), good)


def _tell(results: dict[str, str], good: str, *, as_json: bool) -> None:
    done = sum(result == good for result in results.values())
    if as_json:
        rows = [{"order_id": order_id, "result": result} for order_id, result in results.items()]
        sys.stdout.write(json.dumps({good: done, "orders": rows}, indent=2) + "\n")
    else:
        for order_id, result in results.items():
            write_line(f"{order_id}  {result}")
        write_line(f"{done} {good}")
    raise typer.Exit(0 if done == len(results) else 1)


def offer_demo() -> None:
    """Put the demo catalogue into a store that has no products."""
    from service.ledger.catalogue import ProductCatalogue
    from service.ledger.demo import stock_demo

    async def offer(shards: "Shards", _: "Settings") -> None:
        await stock_demo(ProductCatalogue(shards))

    asyncio.run(in_store(offer, create=True))


async def _dead(shards: "Shards", _: "Settings | None" = None) -> "list[Order]":
    from service.ledger.dead_letters import DeadLetters

    found = await DeadLetters(shards).list()
    if found.missing_shards:
        numbers = ", ".join(map(str, found.missing_shards))
        typer.echo(f"shards that do not answer, whose dead letters are missing here: {numbers}", err=True)
    return found


def _check(order_ids: list[str] | None, *, everything: bool) -> None:
    """Refuse what is no order id before a store is even looked for."""
    if everything == bool(order_ids):
        raise typer.BadParameter("name the orders, or say --all")
    check_order_ids(order_ids or ())


async def _chosen(shards: "Shards", order_ids: list[str] | None) -> list[str]:
    from service.ledger.orders import shard_of_order

    for order_id in order_ids or ():
        if shard_of_order(order_id) not in shards:
            raise typer.BadParameter(f"{order_id!r} is not an order id")
    return order_ids or [order.order_id for order in await _dead(shards)]
