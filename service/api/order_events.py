"""`GET /orders/{order_id}/events`: an order as server-sent events, until it has ended."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from service.api.auth import AskerOf
from service.api.context import Context
from service.api.errors import describe
from service.api.orders import OrderIdPath, OrderNow
from service.api.strict_json import StrictRoute
from service.ledger.order_reader import CurrentOrder
from service.orders.followers import LIVE, OrderFollowers
from service.problems import Problem

EVENT_STREAM = "text/event-stream"
EVENT_SCHEMA = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}, "retry": {"type": "integer"}},
}
KEEPALIVE_SECONDS = 15.0
RETRY_MS = 2000
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Nobody may keep it, and a proxy (nginx) is to hand on each event as it comes."""

router = APIRouter(tags=["orders"], route_class=StrictRoute)


@router.get(
    "/orders/{order_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events named `order`, whose data is the order as `GET /orders/{order_id}` has it: one at "
            "once, one at each change and each second while it is pending. The stream ends after the one that says how "
            "the order ended, and with the process that serves it: connect again unless the order has ended.",
            "content": {EVENT_STREAM: {"schema": EVENT_SCHEMA}},
        },
        **describe("unauthorized", "unknown_order", "invalid", "overloaded", "store_unavailable"),
    },
)
async def follow_order(order_id: OrderIdPath, context: Context, asker: AskerOf) -> StreamingResponse:
    """Follow one order by server-sent events until it has ended."""
    current = await context.order_reader.order(context.known_order_id(order_id))
    if current is None or not asker.may_see(current.order.user_id):
        raise Problem("unknown_order")
    context.followers.check_room(order_id)
    return StreamingResponse(_events(context.followers, current), media_type=EVENT_STREAM, headers=HEADERS)


async def _events(followers: OrderFollowers, current: CurrentOrder) -> AsyncIterator[bytes]:
    with followers.follow(current) as follower:
        yield _event(current, RETRY_MS)
        while current.order.status in LIVE:
            try:
                async with asyncio.timeout(KEEPALIVE_SECONDS):
                    news = await follower.next()
            except TimeoutError:
                yield KEEPALIVE_COMMENT
                continue
            if news is None:
                return
            current = news
            yield _event(current)


def _event(current: CurrentOrder, retry: int | None = None) -> bytes:
    return format_sse_event(data_str=OrderNow.now(current).model_dump_json(), event="order", retry=retry)
