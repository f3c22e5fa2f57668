"""OpenTelemetry's `FastAPIInstrumentor`: it sees every request, and gives its span and its metrics.

What is changed of it, and why:

- It ends a duration after the background tasks of the application, which is no time that a client waits. What it
  counts when a request begins and ends is recorded once, when the last part of the answer is handed over.
- It names the last route that knows a path, and a mounted application instead of the route inside it. Here the names
  come from FastAPI's router (`telemetry.http.routes`).
- It decodes headers as UTF-8, and where that fails as Python escapes, which fails too: a ``User-Agent`` of the bytes
  ``ff 5c 78`` becomes a 500. It is shown such a request with the odd bytes replaced; the application sees them all.
- It decodes every header each time that it looks for one, so it is shown none but those that it has a use for.
- It keeps the query as it stands, which may hold a secret: it is shown one without.
"""

import logging
import os
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import quote

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Tracer, get_current_span
from opentelemetry.util.http import OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST
from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Send

from ..redaction import redact_query
from ..settings import TelemetrySettings
from . import asgi
from .background import CONTRIB, TRACER, trace_background_tasks
from .captured_headers import CapturedHeaders
from .exclusion import Excludes
from .last_byte import CURRENT, until_last_byte
from .late_spans import LateSpans
from .measurement import RequestMeasurement
from .parts import Parts, change_stack, is_fastapi
from .routes import RequestRoute, Routes, route_of
from .semantics import INSIDE, NATIVE, Scope, span_name

_ENTERED = "telemetry.entered"
_TRUE_SCOPE = "telemetry.scope"
_MEASUREMENT = "telemetry.measurement"
_logger = logging.getLogger(__name__)


def instrument(app: Starlette, parts: Parts) -> None:
    """Instrument an application, before it serves its first request."""
    routes, excluded = Routes(app), parts.excludes()
    meters = until_last_byte(parts.meters, parts.request_metrics())

    def layer(app: ASGIApp, spans: SpanMaker) -> ASGIApp:
        return ContribMiddleware(app, spans, routes, parts.late_spans, excluded)

    add_instrumentation(app, parts, routes, meters, layer)


def add_instrumentation(
    app: Starlette,
    parts: Parts,
    routes: Routes,
    meters: MeterProvider,
    layer: "Callable[[ASGIApp, SpanMaker], ASGIApp]",
) -> None:
    """Have contrib instrument an application.

    Args:
        app: the application.
        parts: where spans go.
        routes: the application's routes.
        meters: where its metrics go.
        layer: is given the application and the same through contrib, and makes the layer that stands before both.
    """
    captured = CapturedHeaders()
    if is_fastapi(app):
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415 - it imports FastAPI

        trace_background_tasks()
        FastAPIInstrumentor.instrument_app(
            app,  # type: ignore[arg-type]  # it is one of FastAPI's
            tracer_provider=parts.tracers,
            meter_provider=meters,
            excluded_urls="",  # it would put together the URL of each request and search in it
            exclude_spans=["receive", "send"],
            **captured.for_contrib(),
        )
    else:
        asgi.instrument_app(app, parts.tracers, meters, captured)
    headers = _headers_of_interest(parts.settings)

    def change(stack: ASGIApp) -> ASGIApp:
        instrumentation = getattr(stack, "app", None)
        if not isinstance(stack, ServerErrorMiddleware) or not isinstance(instrumentation, OpenTelemetryMiddleware):
            _logger.error("opentelemetry-instrumentation-fastapi builds another stack than it did; it is used as it is")
            return stack
        instrumentation.default_span_details = _span_details
        app = parts.options.with_hooks(instrumentation.app)
        instrumentation.app = _Inside(app, parts.tracers.get_tracer(CONTRIB))
        stack.app = layer(app, SpanMaker(instrumentation, headers, routes))
        return stack

    change_stack(app, change)


class ContribMiddleware:
    """The layer outside of contrib, which sees every request.

    Args:
        app: what contrib calls.
        spans: the same through contrib.
        routes: the application's routes.
        late_spans: writes the spans of requests that failed or were slow and are not recorded; None writes none.
        excludes: says what it leaves alone.
    """

    def __init__(
        self,
        app: ASGIApp,
        spans: "SpanMaker",
        routes: Routes,
        late_spans: LateSpans | None,
        excludes: Excludes,
    ) -> None:
        self._app = app  # not `app`, as in `BypassMiddleware`
        self._spans = spans
        self._routes = routes
        self._late_spans = late_spans
        self._excludes = excludes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if INSIDE in scope or scope["type"] == "lifespan" or self._excludes(scope):
            scope.setdefault(NATIVE, None)
            await self._app(scope, receive, send)
            return
        scope[INSIDE] = True
        if scope["type"] != "http":
            await self._spans(scope, receive, send, None)
            return
        request = RequestMeasurement(scope, send, None, route_of(scope, self._routes))
        error: BaseException | None = None
        token = CURRENT.set(request)
        try:
            await self._spans(scope, receive, request.send, request)
        except BaseException as raised:
            error = raised
            raise
        finally:
            CURRENT.reset(token)
            request.finish(error, self._late_spans)


class SpanMaker:
    """Shows contrib what concerns it; without the odd bytes when it fails before it calls the application.

    Args:
        instrumentation: contrib's layer.
        headers: the request headers that it has a use for; None for all.
        routes: the application's routes.
    """

    def __init__(
        self, instrumentation: OpenTelemetryMiddleware, headers: Collection[bytes] | None, routes: Routes
    ) -> None:
        self.app = instrumentation  # FastAPI follows this name, in search of contrib
        self._headers = headers
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send, request: RequestMeasurement | None) -> None:
        """Serve one request; `request` is None for a WebSocket, which is not measured."""
        headers = scope["headers"]
        if self._headers is not None:
            headers = [header for header in headers if header[0] in self._headers]
        shown = {**scope, "headers": headers, _TRUE_SCOPE: scope, _MEASUREMENT: request}
        if scope.get("query_string"):
            shown["query_string"] = redact_query(scope["query_string"].decode("latin-1")).encode("latin-1")
        if request is None:
            shown[_MEASUREMENT] = RequestRoute(self._routes, scope)
        try:
            await self.app(shown, receive, send)
        except UnicodeError:
            if _ENTERED in shown:
                raise
            await self.app(_legible(shown), receive, send)


class _Inside:
    """Is called by contrib inside its span, and shows the application the request as it came."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self.app = app
        self._tracer = tracer

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        TRACER.set(self._tracer)  # for this request's background tasks
        scope[_ENTERED] = True
        true: Scope = scope.get(_TRUE_SCOPE, scope)
        span = get_current_span()
        measured = scope.get(_MEASUREMENT)
        if isinstance(measured, RequestMeasurement):
            measured.recorded = span.is_recording()
            measured.span_context = span.get_span_context()
            measured = measured.route
        if isinstance(measured, RequestRoute) and span.is_recording():
            measured.name_span(span)
        return self.app(true, receive, send)


def _span_details(scope: Scope) -> tuple[str, dict[str, str]]:
    """Return the name of a request's server span and its route, where that is known beforehand."""
    measured = scope.get(_MEASUREMENT)
    if isinstance(measured, RequestMeasurement) and isinstance(measured.route, str):
        return span_name(scope, measured.route), {"http.route": measured.route}
    return span_name(scope, None), {}  # the router names it


def _legible(scope: Scope) -> Scope:
    headers = [(name, value.decode("ascii", "replace").encode("ascii", "replace")) for name, value in scope["headers"]]
    query = quote(scope.get("query_string", b""), safe="%&=+/:;,?@!$'()*-._~[]").encode("ascii")
    return {**scope, "headers": headers, "query_string": query}


def _headers_of_interest(settings: TelemetrySettings) -> frozenset[bytes] | None:
    """Return the request headers that contrib needs; None for all, when the environment may name more."""
    if settings.keep_propagators or os.environ.get(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST):
        return None
    return frozenset((b"host", b"user-agent", b"traceparent", b"tracestate", b"baggage"))
