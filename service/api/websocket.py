"""`WS /monitoring`: a snapshot of the sale once a second; see `service.monitoring.messages` for what is sent.

A session is one span, which tells at its end how many messages were sent and lost. Nothing is expected of the client:
what it sends is thrown away, and one that does not stop is closed with 1008. It is pinged; one that does not answer, or
does not read for as long, is disconnected. When the process ends, all are closed with 1012.
"""

import asyncio
from contextlib import suppress

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from opentelemetry.trace import get_current_span
from starlette.routing import WebSocketRoute

from service.api.context import ApiContext
from service.api.errors import respond
from service.api.watch_auth import SUBPROTOCOL, reject_reason
from service.metrics import FRAMES, WATCHERS, WATCHERS_REFUSED
from service.monitoring.broadcast import Broadcast, Subscriber
from service.problems import Problem
from telemetry import Telemetry

GONE = 1006
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
MESSAGES_PER_SECOND = 20
MAX_MESSAGE_BYTES = 1024
DENIAL = "websocket.http.response"
_HOW_TO_UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}

router = APIRouter()


@router.websocket("/monitoring")
async def watch(websocket: WebSocket) -> None:
    """Send snapshots until the client goes."""
    context: ApiContext = websocket.app.state.context
    offered = websocket.scope["subprotocols"]
    refused = reject_reason(context.settings, websocket.headers, offered, len(context.broadcast))
    if refused is not None:
        reason, problem = refused
        context.broadcast.refused[reason] += 1
        await _refuse(websocket, problem)
        return
    code = GONE
    with context.broadcast.subscribe() as subscriber, suppress(WebSocketDisconnect):
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        code = await _serve(websocket, subscriber, context.broadcast)
    get_current_span().set_attributes(
        {
            "flash_sale.websocket.frames_sent": subscriber.sent,
            "flash_sale.websocket.frames_dropped": subscriber.dropped,
            "flash_sale.websocket.close_code": code,
        }
    )


@router.get("/monitoring", include_in_schema=False)
async def tell_to_upgrade() -> None:
    """Answer who asks for the WebSocket as if it were a page (RFC 9110, section 15.5.22)."""
    detail = "This is a WebSocket; the same figures as JSON are at /monitoring/metrics."
    raise Problem("upgrade_required", detail, headers=_HOW_TO_UPGRADE)


def observe(telemetry: Telemetry, broadcast: Broadcast) -> None:
    """Export who watches, and what they were sent."""
    reasons = WATCHERS_REFUSED.attributes["reason"] or ()
    telemetry.observe(WATCHERS, lambda: [(len(broadcast), {})])
    telemetry.observe(
        FRAMES, lambda: [(broadcast.sent, {"result": "sent"}), (broadcast.dropped, {"result": "dropped"})]
    )
    telemetry.observe(
        WATCHERS_REFUSED, lambda: [(broadcast.refused[str(reason)], {"reason": reason}) for reason in reasons]
    )


async def _refuse(websocket: WebSocket, problem: Problem) -> None:
    """Answer the handshake with the problem; a server that cannot do that opens and closes at once."""
    if DENIAL in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(respond(problem))
        return
    await websocket.accept()
    overloaded = problem.code == "overloaded"
    await websocket.close(TRY_AGAIN_LATER if overloaded else POLICY_VIOLATION, problem.code)


async def _serve(websocket: WebSocket, subscriber: Subscriber, broadcast: Broadcast) -> int:
    """Run a session and return the code with which it was closed."""
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(_send(websocket, subscriber, broadcast))
        code = await _listen(websocket)
        sending.cancel()
    return code


async def _send(websocket: WebSocket, subscriber: Subscriber, broadcast: Broadcast) -> None:
    while True:
        frame = await subscriber.take()
        try:
            await websocket.send_text(frame)
        except (WebSocketDisconnect, RuntimeError):  # uvicorn's and Starlette's word for "closed already"
            return
        broadcast.note_sent(subscriber)


async def _listen(websocket: WebSocket) -> int:
    loop = asyncio.get_running_loop()
    since, messages = loop.time(), 0
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return int(message.get("code", 1005))
        if loop.time() - since >= 1:
            since, messages = loop.time(), 0
        messages += 1
        if messages > MESSAGES_PER_SECOND:
            with suppress(WebSocketDisconnect, RuntimeError):
                await websocket.close(POLICY_VIOLATION, "no messages are expected")
            return POLICY_VIOLATION


PATHS = frozenset(route.path.encode() for route in router.routes if isinstance(route, WebSocketRoute))
"""Where a handshake is taken."""
