"""ASGI middleware for `HEAD` wherever `GET` is: what `GET` would answer, without its body (RFC 9110, 9.3.2)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_LEFT_OUT = "flash_sale.body_left_out"
"""Set in the scope for an answer that would have no end."""


class HeadMiddleware:
    """Hand a `HEAD` on as a `GET` and leave the body out; a resource that has no `GET` takes no `HEAD` either.

    The layers around it still see `HEAD`: what is measured is what was asked for.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        ended = False

        async def send_wrapper(message: Message) -> None:
            nonlocal ended
            if message["type"] != "http.response.body":
                await send(message)
            elif not ended:  # with the first part: a stream may go on for ever, and its client is told that it has all
                ended = True
                await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET", BODY_LEFT_OUT: True}, receive, send_wrapper)
