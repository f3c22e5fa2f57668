"""What makes the two interceptors alike: the same routes, the same exception events, the same answers to odd bytes.

contrib names the last route that knows a path, FastAPI the first; contrib names a mounted application, FastAPI the
route inside it, unless that application is Starlette's; FastAPI names no route when a middleware answers before its
router is asked, and records no event for an exception. Both get their routes from `telemetry.http.routes` here.

contrib decodes headers as UTF-8, and where that fails as Python escapes, which fails too: a ``User-Agent`` of the
bytes ``ff 5c 78`` becomes a 500. It is shown such a request with the odd bytes replaced; the application sees them all.
And it decodes every header each time that it looks for one, so it is shown none but those that it has a use for.
"""

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any
from urllib.parse import quote

from fastapi.telemetry._api import _route_selected
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.trace import get_current_span
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Message, Receive, Send

from .routes import Routes, Scope

_ENTERED = "telemetry.entered"
_TRUE_SCOPE = "telemetry.scope"
_NATIVE = "fastapi.telemetry"
_MOUNTED = "/{path}"  # FastAPI's word for whatever is inside a mounted application that is not its own
_logger = logging.getLogger(__name__)


Bypass = Callable[[ASGIApp, ASGIApp], ASGIApp]
"""Given an application and the same with its instrumentation, a layer that chooses between them."""


def level_contrib(
    stack: ASGIApp, routes: Routes, bypass: Bypass, *, excluded: Collection[str], headers: Collection[bytes] | None
) -> ASGIApp:
    """Change the stack that contrib has built.

    Args:
        stack: its outermost layer.
        routes: the application's routes.
        bypass: what does not go through the instrumentation.
        excluded: the paths that it leaves alone.
        headers: the request headers that it has a use for; None for all.
    """
    instrumentation = getattr(stack, "app", None)
    if not isinstance(stack, ServerErrorMiddleware) or not isinstance(instrumentation, OpenTelemetryMiddleware):
        _logger.error("opentelemetry-instrumentation-fastapi builds another stack than it did; it is used as it is")
        return stack
    instrumentation.default_span_details = routes.span
    app, instrumentation.app = instrumentation.app, _Entered(instrumentation.app)
    stack.app = bypass(app, _Shown(instrumentation, excluded, headers))
    return stack


def level_native(stack: ASGIApp, routes: Routes, bypass: Bypass) -> ASGIApp:
    """Change the stack that FastAPI has built.

    Args:
        stack: its outermost layer.
        routes: the application's routes.
        bypass: what does not go through the instrumentation.
    """
    if isinstance(stack, ServerErrorMiddleware):
        stack.app = _NativeGaps(stack.app, routes)
    else:
        _logger.error("FastAPI builds another stack than it did; it is used as it is")
    return bypass(stack, stack)


class _Entered:
    """Notes that the instrumentation has called the application, and shows this the request as it came."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope[_ENTERED] = True
        return self.app(scope.get(_TRUE_SCOPE, scope), receive, send)


class _Shown:
    """Shows contrib what concerns it; without the odd bytes when it fails before it calls the application."""

    def __init__(
        self, instrumentation: OpenTelemetryMiddleware, excluded: Collection[str], headers: Collection[bytes] | None
    ) -> None:
        self.app = instrumentation
        self._excluded = excluded
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in self._excluded:
            await self.app.app(scope, receive, send)
            return
        headers = scope["headers"]
        if self._headers is not None:
            headers = [header for header in headers if header[0] in self._headers]
        shown = {**scope, "headers": headers, _TRUE_SCOPE: scope}
        try:
            await self.app(shown, receive, send)
        except UnicodeError:
            if _ENTERED in shown:
                raise
            await self.app(_legible(shown), receive, send)


def _legible(scope: Scope) -> Scope:
    headers = [(name, value.decode("ascii", "replace").encode("ascii", "replace")) for name, value in scope["headers"]]
    query = quote(scope.get("query_string", b""), safe="%&=+/:;,?@!$'()*-._~[]").encode("ascii")
    return {**scope, "headers": headers, "query_string": query}


class _NativeGaps:
    """Fills in what FastAPI's own telemetry leaves out: the route of an early answer, the event of an exception."""

    def __init__(self, app: ASGIApp, routes: Routes) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        native = scope.get(_NATIVE)
        if native is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root_path = scope.get("root_path", "")  # a mounted application changes it

        def told(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                self._name(scope, native, root_path)
            return send(message)

        try:
            await self._app(scope, receive, told)
        except Exception as error:
            self._name(scope, native, root_path)
            span = get_current_span()
            if span.is_recording():
                span.record_exception(error)
            raise

    def _name(self, scope: Scope, native: Any, root_path: str) -> None:  # noqa: ANN401 - FastAPI keeps its type to itself
        if native.route is None or native.route.endswith(_MOUNTED):
            template = self._routes.whole({**scope, "root_path": root_path})
            native._mount_prefix = ""  # noqa: SLF001 - it is in the template
            _route_selected(scope=scope, path=template)
