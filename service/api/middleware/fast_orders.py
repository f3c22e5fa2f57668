"""The short way of `POST /orders`: what a plainly correct order meets instead of the framework's general machinery.

FastAPI's routing, dependencies and serialisation cost several times what placing an order does
(docs/decisions/telemetry-cost.md). A request that is plainly right is answered here, by the same checkout and the same
model as in the route, and without the layers on the way there: its body is short, and what crashes is answered by
the same handler. Any other goes on untouched: an odd header, a body that is no order, a service with faults that may be
switched on, or one where shoppers show tokens. So what is refused, and in which words, has one home; and the OpenAPI
document is the route's.
"""

import json
import re
from collections.abc import Collection

from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.context import ApiContext
from service.api.errors import ErrorHandler, OnProblem, send_problem
from service.api.orders import IDEMPOTENCY_KEY, SALE_TICKET, OrderRequest, accepted_json, head_of
from service.api.strict_json import parse
from service.problems import Problem

PATH = "/orders"
_KEY = re.compile(IDEMPOTENCY_KEY)
_TICKET = re.compile(SALE_TICKET)
_HEAD = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
MAX_BYTES = 8 * 1024
"""Of a body that is plainly an order, every letter of it escaped."""


class OrderFastPathMiddleware:
    """An ASGI layer in front of those that answer.

    Args:
        app: What is called for all other requests.
        context: The parts of the process.
        on_problem: Is told of each refusal.
        crash: Answers what nobody expected.
    """

    def __init__(self, app: ASGIApp, context: ApiContext, on_problem: OnProblem, crash: ErrorHandler) -> None:
        self._app = app
        self._context = context
        self._on_problem = on_problem
        self._crash = crash
        self._open = not context.settings.auth_jwt.enabled and context.faults is None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST" or not self._open:
            await self._app(scope, receive, send)
            return
        sent = _plain(scope["headers"])
        if sent is None:
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body", False):
            messages.append(await receive())
        gone = messages[-1]["type"] == "http.disconnect"  # before its request was whole: the routes know what to do
        order = None if gone else _read(messages)
        if order is None or order.user_id is None:
            await self._app(scope, _again(messages, receive), send)
            return
        key = sent.get(b"idempotency-key")
        try:
            placed = await self._context.checkout.place_order(
                product_id=order.product_id,
                user_id=order.user_id,
                quantity=order.quantity,
                idempotency_key=key.decode("ascii") if key else None,
                address=self._context.address_of(scope),
                ticket=sent.get(b"sale-ticket", b"").decode("ascii"),
                **order.words(),
            )
        except Problem as problem:
            self._on_problem(scope, problem)
            await send_problem(problem, send)
            return
        except Exception as error:  # noqa: BLE001 - as the layer does that guards the routes
            response = await self._crash(Request(scope), error)
            await response(scope, receive, send)
            return
        body = accepted_json(placed.order)
        status, headers = head_of(placed, self._context.settings.root_path)
        head = [(b"content-length", b"%d" % len(body)), *_HEAD, *((n.encode(), v.encode()) for n, v in headers.items())]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})


def _plain(pairs: Collection[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """Return the headers, each once, of a JSON body whose length is declared, and short; else None."""
    headers = dict(pairs)
    length = headers.get(b"content-length", b"")
    plain = (
        len(headers) == len(pairs)
        and headers.get(b"content-type") == b"application/json"
        and length.isdigit()
        and int(length) <= MAX_BYTES
        and b"transfer-encoding" not in headers
        and (b"idempotency-key" not in headers or _KEY.fullmatch(headers[b"idempotency-key"].decode("latin-1")))
        and (b"sale-ticket" not in headers or _TICKET.fullmatch(headers[b"sale-ticket"].decode("latin-1")))
    )
    return headers if plain else None


def _read(messages: list[Message]) -> OrderRequest | None:
    """Return the order, when the body is one."""
    body = messages[0].get("body", b"") if len(messages) == 1 else b"".join(m.get("body", b"") for m in messages)
    try:
        return OrderRequest.model_validate(parse(body))
    except (ValidationError, json.JSONDecodeError):
        return None


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Give these messages once more, and then what follows them."""
    first = iter(messages)

    async def replay() -> Message:
        return next(first, None) or await receive()

    return replay
