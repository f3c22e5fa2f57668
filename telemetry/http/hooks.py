"""A service's own functions that are told of each request, whichever interceptor there is.

They are called as OpenTelemetry's instrumentations call theirs, with two differences: there are no spans of their own
for what is received and sent, so each is given the server span; and of a request that is not recorded they are told as
well, with a span that does not record. What they raise is logged (`telemetry.failures`), and the request goes on.
"""

import logging
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import Span, get_current_span
from starlette.types import ASGIApp, Message, Receive, Send

from ..failures import FailureLogger
from .semantics import INSIDE, Scope

RequestHook = Callable[[Span, Scope], None]
"""Is given a request's server span, which is current, and its ASGI scope."""
MessageHook = Callable[[Span, Scope, dict[str, Any]], None]
"""Is given an ASGI message as well."""

_HOOKED = "telemetry.hooked"
_logger = logging.getLogger(__name__)


class HookMiddleware:
    """The layer inside the interceptor that calls the hooks.

    Args:
        app: the application's layers.
        on_request: is told of each request when it begins.
        on_receive: is told of each message from the client.
        on_send: is told of each message to the client, before it goes.
    """

    def __init__(
        self,
        app: ASGIApp,
        on_request: RequestHook | None,
        on_receive: MessageHook | None,
        on_send: MessageHook | None,
    ) -> None:
        self._app = app
        self._on_request = on_request
        self._on_receive = on_receive
        self._on_send = on_send
        self._failure_logger = FailureLogger(_logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if INSIDE not in scope or _HOOKED in scope:  # it leaves no telemetry; or it was told of outside of a mount
            await self._app(scope, receive, send)
            return
        scope[_HOOKED] = True
        span = get_current_span()
        if self._on_request is not None:
            self._call(self._on_request, span, scope)
        if self._on_receive is not None:
            receive = self._receiving(receive, self._on_receive, span, scope)
        if self._on_send is not None:
            send = self._sending(send, self._on_send, span, scope)
        await self._app(scope, receive, send)

    def _receiving(self, receive: Receive, hook: MessageHook, span: Span, scope: Scope) -> Receive:
        async def hooked() -> Message:
            message = await receive()
            self._call(hook, span, scope, message)
            return message

        return hooked

    def _sending(self, send: Send, hook: MessageHook, span: Span, scope: Scope) -> Send:
        async def hooked(message: Message) -> None:
            self._call(hook, span, scope, message)
            await send(message)

        return hooked

    def _call(self, hook: Callable[..., None], *args: object) -> None:
        try:
            hook(*args)
        except Exception:  # telemetry never breaks its host
            self._failure_logger.exception("a hook of the telemetry failed")
