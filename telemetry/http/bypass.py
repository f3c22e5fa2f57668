"""What stands in for the instrumentation where a trace is not recorded: the same context and metrics, nothing else.

Of a busy sale's requests one in a hundred is recorded. For the others an instrumentation puts together a span that
nobody will see. `BypassMiddleware` measures every request, in one place, and gives those that are recorded to the
instrumentation for their spans. For the others it makes the request's trace id current, and looks whether a span is due
afterwards. Whoever reads `/metrics`, an answer or a log line cannot tell the difference
(`tests/telemetry/test_bypass.py`).
"""

from collections.abc import Awaitable

from opentelemetry import context as contexts
from opentelemetry.trace import get_current_span
from starlette.types import ASGIApp, Receive, Send

from .contrib import SpanMaker
from .exclusion import Excludes
from .head_sampling import HeadSampler
from .late_spans import LateSpans
from .measurement import RequestMeasurement
from .request_metrics import RequestMetrics
from .routes import Routes, route_of
from .semantics import INSIDE, NATIVE, Scope


class BypassMiddleware:
    """The ASGI layer.

    Args:
        app: what the instrumentation calls.
        spans: the same through the instrumentation.
        head_sampler: decides which of the two serves a request.
        routes: the application's routes.
        metrics: the interceptor's metrics.
        late_spans: writes the spans of requests that failed or were slow; None writes none.
        excludes: says what it leaves alone.
    """

    def __init__(
        self,
        app: ASGIApp,
        spans: SpanMaker,
        head_sampler: HeadSampler,
        routes: Routes,
        metrics: RequestMetrics,
        late_spans: LateSpans | None,
        excludes: Excludes,
    ) -> None:
        # Not `app`: for each request FastAPI follows that name from layer to layer, in search of contrib.
        self._app = app
        self._spans = spans
        self._head_sampler = head_sampler
        self._routes = routes
        self._metrics = metrics
        self._late_spans = late_spans
        self._excludes = excludes

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if INSIDE in scope or scope["type"] == "lifespan" or self._excludes(scope):
            scope.setdefault(NATIVE, None)
            return self._app(scope, receive, send)
        scope[INSIDE] = True
        if scope["type"] == "http":
            return self._serve(scope, receive, send)
        return self._spans(scope, receive, send, None)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = self._head_sampler.bypass_context(scope)
        request = RequestMeasurement(scope, send, self._metrics, route_of(scope, self._routes))
        self._metrics.add_active(request.method, 1)
        error: BaseException | None = None
        token = None
        try:
            if context is None:
                await self._spans(scope, receive, request.send, request)
            else:
                request.span_context = get_current_span(context).get_span_context()
                token = contexts.attach(context)
                await self._app(scope, receive, request.send)
        except BaseException as raised:
            error = raised
            raise
        finally:
            request.finish(error, self._late_spans)
            if token is not None:
                contexts.detach(token)
