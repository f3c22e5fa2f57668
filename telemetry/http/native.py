"""FastAPI's own telemetry: it sees every request, and gives its span and its metrics.

What it leaves out is added: the route of an answer that a middleware gives before the router is asked, and of what is
inside a mounted application of Starlette's; the event of an exception; the span of a request that was not recorded and
then failed or was slow.
"""

import logging

from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import Span, get_current_span
from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Send

from ..redaction import redact_query
from .captured_headers import CapturedHeaders
from .duration_listener import with_listener
from .exclusion import Around
from .last_byte import CURRENT, until_last_byte
from .late_spans import LateSpans
from .measurement import RequestMeasurement
from .parts import Parts, change_stack
from .request_metrics import RequestMetrics
from .routes import RequestRoute, Routes
from .semantics import INSIDE, NATIVE, Scope

_logger = logging.getLogger(__name__)


def instrument(app: Starlette, parts: Parts) -> None:
    """Instrument an application, before it serves its first request."""
    routes = Routes(app)
    metrics = parts.request_metrics()

    def change(stack: ASGIApp) -> ASGIApp:
        if isinstance(stack, ServerErrorMiddleware):
            stack.app = _ExceptionEvents(stack.app)
        else:
            _logger.error("FastAPI builds another stack than it did; exceptions are no events of its spans")
        return NativeMiddleware(parts.options.with_hooks(stack), routes, metrics, parts.late_spans, parts.around())

    change_stack(app, change)


def config(parts: Parts) -> TelemetryConfig:
    """Return what to pass as ``FastAPI(telemetry=...)``."""
    return {
        "tracer_provider": parts.tracers,
        "meter_provider": until_last_byte(
            with_listener(parts.meters, parts.listener) if parts.listener else parts.meters,
            parts.request_metrics(),
        ),
        "tracing": True,
        "metrics": True,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": parts.excludes_for_fastapi(),
    }


class NativeMiddleware:
    """The layer inside FastAPI's telemetry that adds what it leaves out.

    Args:
        app: the application's layers.
        routes: the application's routes.
        metrics: where a request is recorded at its last byte; one without is recorded by FastAPI.
        late_spans: writes the spans of requests that failed or were slow and are not recorded; None writes none.
        around: knows of applications that this one is mounted in.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Routes,
        metrics: RequestMetrics,
        late_spans: LateSpans | None,
        around: Around,
    ) -> None:
        self._app = app
        self._around = around
        self._headers = CapturedHeaders()
        self._routes = routes
        self._metrics = metrics
        self._late_spans = late_spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        telemetry = scope.get(NATIVE)
        foreign = self._around.is_foreign(scope)
        if telemetry is None or INSIDE in scope or scope["type"] != "http" or self._around.measures(scope):
            if telemetry is not None and INSIDE not in scope:
                scope[INSIDE] = True
                send = self._capture(get_current_span(), scope, send)
            await self._app(scope, receive, send)
            return
        scope[INSIDE] = True
        span = get_current_span()
        send = self._capture(span, scope, send)
        request = RequestMeasurement(scope, send, self._metrics, RequestRoute(self._routes, scope, telemetry))
        request.recorded, request.span_context = span.is_recording(), span.get_span_context()
        if request.recorded and scope.get("query_string"):
            span.set_attribute("url.query", redact_query(scope["query_string"].decode("latin-1")))
        if foreign:  # it measures for somebody else
            self._metrics.add_active(request.method, 1)
        error: BaseException | None = None
        token = CURRENT.set(request)
        try:
            await self._app(scope, receive, request.send)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if request.seconds >= 0 or foreign:
                CURRENT.reset(token)  # without a last byte FastAPI ends it after this, and finds that it is measured
            request.finish(error, self._late_spans)

    def _capture(self, span: Span, scope: Scope, send: Send) -> Send:
        if not span.is_recording():
            return send
        self._headers.record_request(span, scope)
        return self._headers.recording(span, send)


class _ExceptionEvents:
    """Records what the application raises, before the layer outside answers and the span ends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            span = get_current_span()
            if scope.get(NATIVE) is not None and span.is_recording():
                span.record_exception(error)
            raise
