"""The routes that list orders: a page of a user's or of all, and all of them as a file."""

import csv
import io
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from service.api.auth import Admin, Asker, AskerOf
from service.api.context import Context
from service.api.errors import describe
from service.api.media_types import preferred
from service.api.moments import Moment
from service.api.orders import OrderNow, OrderView, ProductId, UserId
from service.api.strict_json import StrictRoute
from service.ledger.order_list import OrderFilter, Position
from service.ledger.orders import ORDER_ID, Order, Status
from service.ledger.snapshot import MissingShards
from service.problems import FieldProblem, Problem

MAX_CURSOR = 200
MAX_TIME = 10**15
MAX_OWN = 100
EXPORT_PAGE = 500
CSV, NDJSON = "text/csv", "application/x-ndjson"

router = APIRouter(tags=["orders"], route_class=StrictRoute)


class OrderPage(BaseModel):
    """Orders, the newest first; `next_cursor` asks for the rest, and is null when there is none."""

    orders: list[OrderNow]
    next_cursor: str | None
    missing_shards: MissingShards = None


async def order_filter(
    user_id: Annotated[UserId | None, Query(description="whose orders; a shopper's token says it, too")] = None,
    product_id: Annotated[ProductId | None, Query(description="orders of this product")] = None,
    status: Annotated[list[Status] | None, Query(description="orders that have one of these", max_length=6)] = None,
    accepted_after: Annotated[Moment | None, Query(description="accepted then or later")] = None,
    accepted_before: Annotated[Moment | None, Query(description="accepted earlier than that")] = None,
) -> OrderFilter:
    """Read which orders are asked for."""
    return OrderFilter(
        user_id=user_id,
        product_id=product_id,
        statuses=frozenset(status or ()),
        accepted_after=accepted_after,
        accepted_before=accepted_before,
    )


Wanted = Annotated[OrderFilter, Depends(order_filter)]


@router.get("/orders", responses=describe("unauthorized", "invalid", "store_unavailable"))
async def list_orders(
    context: Context,
    asker: AskerOf,
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=1000, description=f"more than {MAX_OWN} with the admin token only")] = 20,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR, description="`next_cursor` of the page before")] = None,
) -> OrderPage:
    """List orders, the newest first: a user's, or with the admin token those of all.

    A page may be shorter than `limit`, where few orders fit; `next_cursor` alone says whether there are more.
    """
    if not asker.admin:
        wanted = _own(asker, wanted)
        if limit > MAX_OWN:
            raise _invalid("limit", f"Input should be less than or equal to {MAX_OWN}")
    page = await context.order_list.page(wanted, limit, _read_cursor(cursor) if cursor else None)
    return OrderPage(
        orders=[OrderNow.now(current) for current in await context.order_reader.with_places(page.orders)],
        next_cursor=_write_cursor(page.end) if page.end else None,
        missing_shards=page.orders.missing_shards,
    )


def _own(asker: Asker, wanted: OrderFilter) -> OrderFilter:
    """Return what a shopper is shown of what was asked for."""
    user_id = asker.subject or wanted.user_id
    if user_id is None:
        raise _invalid("user_id", "Field required, but with the admin token")
    return replace(wanted, user_id=user_id)


@router.get(
    "/orders/export",
    dependencies=[Admin],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Orders, the oldest first. An answer that is cut off is not whole: send it again.",
            "content": {CSV: {"schema": {"type": "string"}}, NDJSON: {"schema": {"type": "string"}}},
        },
        **describe("unauthorized", "admin_disabled", "not_acceptable", "invalid", "store_unavailable"),
    },
)
async def export_orders(
    context: Context, wanted: Wanted, accept: Annotated[str | None, Header(max_length=1000)] = None
) -> StreamingResponse:
    """Send all orders as CSV, or as one JSON object a line; however many there are, it takes no more memory."""
    media_type = preferred(accept, (CSV, NDJSON))
    pages = context.order_list.pages(wanted, EXPORT_PAGE)
    first = await anext(pages)  # a store that is down is told with a status, while there is none yet

    async def lines() -> AsyncIterator[bytes]:
        if media_type == CSV:
            yield csv_lines([EXPORTED])
        yield WRITERS[media_type](first)
        async for page in pages:
            yield WRITERS[media_type](page)

    name = "orders.csv" if media_type == CSV else "orders.ndjson"
    return StreamingResponse(
        lines(), media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


EXPORTED = tuple(OrderView.model_fields)
"""The columns of an export."""


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would carry out."""


def _cell(value: object) -> object:
    """Return a value as no spreadsheet takes it for a formula: it may be a stranger's."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def csv_lines(rows: Sequence[Sequence[object]]) -> bytes:
    """Write rows as RFC 4180 has it."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def orders_csv(orders: Sequence[Order]) -> bytes:
    """Write orders as lines of CSV, without a head; what is not known is an empty cell, and no cell is a formula."""
    rows = [OrderView.of(order).model_dump(mode="json") for order in orders]
    return csv_lines([[_cell(row[name]) for name in EXPORTED] for row in rows])


def orders_ndjson(orders: Sequence[Order]) -> bytes:
    """Write orders as JSON, one a line."""
    return "".join(f"{OrderView.of(order).model_dump_json()}\n" for order in orders).encode()


WRITERS: dict[str, Callable[[Sequence[Order]], bytes]] = {CSV: orders_csv, NDJSON: orders_ndjson}


def _invalid(name: str, detail: str) -> Problem:
    return Problem("invalid", errors=[FieldProblem(location="query", pointer=f"#/{name}", detail=detail)])


def _write_cursor(position: Position) -> str:
    return urlsafe_b64encode(f"{position.time} {position.order_id}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> Position:
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        time, order_id = text.split(" ")
        if 0 <= int(time) < MAX_TIME and re.fullmatch(ORDER_ID, order_id):
            return Position(int(time), order_id)
    except ValueError:
        pass
    wrong = FieldProblem(location="query", pointer="#/cursor", detail="not a cursor that this route gave out")
    raise Problem("invalid", wrong.detail, errors=[wrong])
