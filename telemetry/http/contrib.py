"""OpenTelemetry's `FastAPIInstrumentor`, with the routes and the patience with odd bytes that every interceptor has.

contrib names the last route that knows a path and a mounted application instead of the route inside it; here the names
come from `telemetry.http.routes`.

It decodes headers as UTF-8, and where that fails as Python escapes, which fails too: a ``User-Agent`` of the
bytes ``ff 5c 78`` becomes a 500. It is shown such a request with the odd bytes replaced; the application sees them all.
And it decodes every header each time that it looks for one, so it is shown none but those that it has a use for.
"""

import logging
import os
from collections.abc import Awaitable, Collection
from urllib.parse import quote

from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.util.http import OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Send

from ..settings import TelemetrySettings
from .parts import Bypass, Parts, change_stack
from .routes import Routes, Scope

_ENTERED = "telemetry.entered"
_TRUE_SCOPE = "telemetry.scope"
_logger = logging.getLogger(__name__)


def instrument(app: FastAPI, parts: Parts, routes: Routes, bypass: Bypass) -> None:
    """Instrument an application, before it serves its first request."""
    settings = parts.settings
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=parts.tracers,
        meter_provider=parts.listened_meters(),
        excluded_urls="",  # it would put together the URL of each request and search in it
        exclude_spans=["receive", "send"],
    )
    excluded, headers = frozenset(settings.excluded_paths), _headers_of_interest(settings)
    change_stack(app, lambda stack: _change(stack, routes, bypass, excluded=excluded, headers=headers))


def _change(
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
    instrumentation.default_span_details = routes.span_details
    app, instrumentation.app = instrumentation.app, _Entered(instrumentation.app)
    stack.app = bypass(app, _Shown(instrumentation, excluded, headers))
    return stack


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


def _headers_of_interest(settings: TelemetrySettings) -> frozenset[bytes] | None:
    """Return the request headers that contrib needs; None for all, when the environment may name more."""
    if settings.keep_propagators or os.environ.get(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST):
        return None
    return frozenset((b"host", b"user-agent", b"traceparent", b"tracestate", b"baggage"))
