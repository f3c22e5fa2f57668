"""The commands of orders: `orders list`, `show`, `export` and `refund`."""

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from service.cli.admin_log import admin_act
from service.cli.errors import OperatorError
from service.cli.store import check_order_ids, in_store, time_text
from service.cli.streams import write_line

if TYPE_CHECKING:
    from service.ledger.order_list import OrderFilter
    from service.ledger.orders import Order
    from service.ledger.refunds import RefundAnswer
    from service.settings import Settings
    from service.store import Shards

T = TypeVar("T")
PAGE = 500


class Format(StrEnum):
    """How orders are exported."""

    CSV = "csv"
    NDJSON = "ndjson"


Product = Annotated[str | None, typer.Option("--product", help="of this product")]
User = Annotated[str | None, typer.Option("--user", help="of this user")]
Statuses = Annotated[list[str] | None, typer.Option("--status", help="that have this status; may be given again")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="accepted then or later (RFC 3339)")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="accepted earlier than that (RFC 3339)")]
OrderId = Annotated[str, typer.Argument(metavar="ORDER_ID")]
Json = Annotated[bool, typer.Option("--json", help="as JSON")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    orders = typer.Typer(no_args_is_help=True, help="Orders: look for some or at one, write all to a file, refund one.")
    orders.command("list")(list_orders)
    orders.command("show")(show_order)
    orders.command("export")(export_orders)
    orders.command("refund")(refund)
    app.add_typer(orders, name="orders")


def list_orders(
    product: Product = None,
    user: User = None,
    status: Statuses = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="how many at most")] = 20,
    as_json: Json = False,
) -> None:
    """List orders, the newest first."""
    wanted = _wanted(product, user, status, since, until)

    async def read(shards: "Shards", _: "Settings") -> "list[Order]":
        from service.ledger.order_list import OrderList

        orders: list[Order] = []
        after = None
        while len(orders) < limit:
            page, after = await OrderList(shards).page(wanted, min(PAGE, limit - len(orders)), after)
            orders += page
            if after is None:
                break
        return orders

    orders = asyncio.run(in_store(read))
    if as_json:
        sys.stdout.write(json.dumps([_json(order) for order in orders], indent=2) + "\n")
        return
    for order in orders:
        what = f"{order.quantity} x {order.product_id} for {order.user_id}"
        write_line(f"{order.order_id}  {time_text(order.accepted_at)}  {order.status:<10}  {what}")
    write_line(f"{len(orders)} orders")


def show_order(order_id: OrderId, as_json: Json = False) -> None:
    """Show all that is known of one order."""
    check_order_ids([order_id])

    async def read(shards: "Shards", settings: "Settings") -> "Order | None":
        from service.ledger.ledger import Ledger

        return await Ledger(shards, settings.policy).order(order_id)

    order = asyncio.run(in_store(read))
    if order is None:
        raise OperatorError(f"there is no order {order_id}")
    shown = _json(order)
    if as_json:
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
        return
    for name, value in shown.items():
        write_line(f"{name:<24}{'-' if value is None else value}")


def export_orders(
    product: Product = None,
    user: User = None,
    status: Statuses = None,
    since: Since = None,
    until: Until = None,
    form: Annotated[Format, typer.Option("--format", help="csv, or one JSON object a line")] = Format.CSV,
) -> None:
    """Write orders to stdout, the oldest first, however many there are."""
    wanted = _wanted(product, user, status, since, until)

    async def write(shards: "Shards", _: "Settings") -> None:
        from service.api.order_list import EXPORTED, csv_lines, orders_csv, orders_ndjson
        from service.ledger.order_list import OrderList

        with admin_act("orders export", ""):
            if form is Format.CSV:
                _write(csv_lines([EXPORTED]))
            async for orders in OrderList(shards).pages(wanted, PAGE):
                _write(orders_csv(orders) if form is Format.CSV else orders_ndjson(orders))

    asyncio.run(in_store(write))


def refund(
    order_id: OrderId,
    quantity: Annotated[int | None, typer.Option(min=1, help="how many units; without it all that are left")] = None,
    keep_units: Annotated[bool, typer.Option("--keep-units", help="the units do not return to stock")] = False,
    reason: Annotated[str, typer.Option(help="shown with the order")] = "",
    as_json: Json = False,
) -> None:
    """Refund a confirmed order, whole or in part; status 1 when that cannot be.

    A running worker gives the money back.
    """
    check_order_ids([order_id])

    async def book(shards: "Shards", _: "Settings") -> "RefundAnswer":
        from service.ledger.refunds import Refund, refund_order

        wanted = Refund(
            order_id=order_id, quantity=quantity, return_to_stock=not keep_units, reason=" ".join(reason.split())[:128]
        )
        with admin_act(f"orders refund {order_id}", "refunded") as results:
            answer = await refund_order(shards, wanted)
            results[order_id] = str(answer.result)
        return answer

    answer = asyncio.run(in_store(book))
    if as_json:
        shown = _json(answer.order) if answer.order else None
        sys.stdout.write(json.dumps({"result": answer.result, "order": shown}, indent=2) + "\n")
    else:
        of = f"  {answer.order.refunded_quantity} of {answer.order.quantity} units" if answer.order else ""
        write_line(f"{order_id}  {answer.result}{of}")
    raise typer.Exit(0 if answer.result == "refunded" else 1)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)


def _json(order: "Order") -> dict[str, Any]:
    from service.api.orders import OrderView

    return OrderView.of(order).model_dump(mode="json")


def _wanted(
    product: str | None, user: str | None, statuses: Sequence[str] | None, since: str | None, until: str | None
) -> "OrderFilter":
    from service.ledger.order_list import OrderFilter
    from service.ledger.orders import Status

    for status in statuses or ():
        if status not in set(Status):
            raise typer.BadParameter(f"{status!r} is no status of an order: {', '.join(Status)}")
    return OrderFilter(
        user_id=user,
        product_id=product,
        statuses=frozenset(map(Status, statuses or ())),
        accepted_after=_moment("--since", since),
        accepted_before=_moment("--until", until),
    )


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r} is no time, such as 2026-11-27T09:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
