"""ASGI middleware: a bound on the size of a body, answered as a problem like every other error."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import OnProblem, send_problem
from service.problems import Problem


class BodyLimitMiddleware:
    """Refuses bodies over `max_bytes` with 413: by their declared length at once, else when they grow past it.

    Starlette's own middleware answers in plain text and replaces whatever the application answers.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, on_problem: OnProblem) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._on_problem = on_problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = _declared(scope)
        if declared is not None:
            if declared <= self._max_bytes:
                await self._app(scope, receive, send)  # the server lets no more through than was declared
                return
            problem = Problem("payload_too_large", f"A body may have {self._max_bytes} bytes.")
            self._on_problem(scope, problem)
            await send_problem(problem, send)
            return
        received = 0

        async def receive_wrapper() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, f"A body may have {self._max_bytes} bytes.")
            return message

        await self._app(scope, receive_wrapper, send)


def _declared(scope: Scope) -> int | None:
    """Return the length that binds the server; none does beside a `Transfer-Encoding` (RFC 9112, 6.3)."""
    declared = None
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            declared = int(value)
        elif name == b"transfer-encoding":
            return None
    return declared
