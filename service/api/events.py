"""`GET /events`: every change of an order, as CloudEvents 1.0; a page at a time, or as server-sent events.

An event's text is made once for all who are sent it. A client of a stream that does not read is cut off by the server
after CLIENT_TIMEOUT_SECONDS; until then nothing but its place in the feed is kept for it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from pydantic_core import to_json

from service.api.auth import FollowingAdmin
from service.api.cloud_events import OrderEvent, event_json
from service.api.context import ApiContext, Context
from service.api.errors import describe
from service.api.media_types import preferred
from service.api.middleware.head import BODY_LEFT_OUT
from service.api.strict_json import StrictRoute
from service.ledger.feed import CURSOR_LETTERS, MAX_CURSOR, Cursor, CursorExpiredError, FeedPage
from service.ledger.snapshot import MissingShards
from service.problems import FieldProblem, Problem
from service.store import STORE_ERRORS

JSON, STREAM = "application/json", "text/event-stream"
MAX_WAIT_SECONDS = 60
STREAM_PAGE = 100
HEARTBEAT_SECONDS = 5.0
"""How long a stream is silent, so that either side notices when the other is gone; proxies allow a minute."""
RETRY = b"retry: 1000\n\n"
router = APIRouter(tags=["events"], route_class=StrictRoute)


class EventPage(BaseModel):
    """Events, those of one order in their order; `cursor` asks for what comes next."""

    events: list[OrderEvent]
    cursor: str
    missing_shards: MissingShards = None


After = Annotated[
    str | None,
    Query(
        max_length=MAX_CURSOR,
        pattern=CURSOR_LETTERS,
        description="`cursor` of the page before; without it begins with the oldest kept",
    ),
]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID", max_length=MAX_CURSOR, pattern=CURSOR_LETTERS, description="of a stream: its last `id`"
    ),
]


@router.get(
    "/events",
    dependencies=[FollowingAdmin],
    responses={
        200: {
            "model": EventPage,
            "description": "Each change of an order, at least once; the stream's `id`s are cursors.",
            "content": {STREAM: {"schema": {"type": "string"}}},
        },
        **describe(
            *("unauthorized", "admin_disabled", "not_acceptable", "cursor_expired", "uri_too_long", "invalid"),
            "store_unavailable",
        ),
    },
)
async def list_events(
    request: Request,
    context: Context,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS, description="seconds, where there is none yet")] = 0,
    accept: Annotated[str | None, Header(max_length=1000)] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Read what happened to orders: every change of every order, once, in the order in which one order changed."""
    streamed = preferred(accept, (JSON, STREAM)) == STREAM
    cursor = _read_cursor(after, "query", "after")
    if streamed and last_event_id:
        cursor = _read_cursor(last_event_id, "header", "Last-Event-ID")
    try:
        page = await context.feed.page(cursor, limit, 0 if streamed else wait)
    except CursorExpiredError:
        raise Problem("cursor_expired", "Read the orders themselves, and go on without a cursor.") from None
    if not streamed:
        return Response(_page_json(page), media_type=JSON)
    if request.scope.get(BODY_LEFT_OUT):
        return Response(media_type=STREAM)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(request, context, page, cursor), media_type=STREAM, headers=headers)


def _read_cursor(text: str | None, location: str, name: str) -> Cursor | None:
    try:
        return Cursor.parse(text) if text else None
    except ValueError:
        wrong = FieldProblem(location=location, pointer=f"#/{name}", detail="not a cursor that this route gave out")
        raise Problem("invalid", wrong.detail, errors=[wrong]) from None


def _page_json(page: FeedPage) -> bytes:
    texts = b",".join(event_json(change, page.end.store) for change in page.changes)
    missing = b"" if page.missing_shards is None else b',"missing_shards":' + to_json(page.missing_shards)
    return b'{"events":[' + texts + b'],"cursor":' + to_json(str(page.end)) + missing + b"}"


def _messages(page: FeedPage, before: Cursor | None) -> bytes:
    """Write the changes of a page as server-sent events, each with the cursor behind it."""
    places, parts = dict(before.places) if before else {}, []
    for change in page.changes:
        places[change.shard] = change.end
        cursor = Cursor(page.end.store, places)
        parts.append(b"id: %s\ndata: %s\n\n" % (str(cursor).encode(), event_json(change, page.end.store)))
    return b"".join(parts)


async def _stream(request: Request, context: ApiContext, page: FeedPage, before: Cursor | None) -> AsyncIterator[bytes]:
    """Send changes for as long as the client is there; a store that is down is told in a comment, and waited for.

    What is sent to a client that is gone is lost without a word, so that is asked each time.
    """
    with context.streaming():
        yield RETRY
        while not context.stopping.is_set() and not await request.is_disconnected():
            if page.missing_shards:
                yield b"event: missing_shards\ndata: %s\n\n" % to_json(page.missing_shards)
            yield _messages(page, before) or b": nothing new\n\n"
            before = end = page.end
            try:
                page = await context.feed.page(end, STREAM_PAGE, HEARTBEAT_SECONDS)
            except CursorExpiredError:
                return  # who comes back with its last `id` is told
            except STORE_ERRORS:
                page = FeedPage([], end, complete=True, missing_shards=None)
                yield b": the store does not answer\n\n"
                await asyncio.sleep(1)
