"""Work that is due before the first request of an application, where no lifespan has done it."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Send

from .parts import change_stack
from .semantics import Scope


def before_first_request(app: Starlette, work: Callable[[Scope], Awaitable[None]]) -> None:
    """Have work done once, with the first request or WebSocket, before any layer has it; later ones pay nothing."""
    change_stack(app, lambda stack: _FirstRequest(app, stack, work))


class _FirstRequest:
    """The outermost layer; takes itself away."""

    def __init__(self, app: Starlette, inside: ASGIApp, work: Callable[[Scope], Awaitable[None]]) -> None:
        self._app = app
        self._inside = inside
        self._work: Callable[[Scope], Awaitable[None]] | None = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            work, self._work = self._work, None
            if self._app.middleware_stack is self:
                self._app.middleware_stack = self._inside
            if work is not None:
                await work(scope)
        await self._inside(scope, receive, send)
