"""What stands in for the instrumentation where a trace is not recorded: the same context and metrics, nothing else.

Of a busy sale's requests one in a hundred is recorded. For the others an instrumentation puts together a span that
nobody will see. `BypassMiddleware` makes the request's trace id current, measures ``http.server.request.duration`` and
``http.server.active_requests`` with the labels that both instrumentations give them, and looks whether a span is due
afterwards. Whoever reads `/metrics`, an answer or a log line cannot tell the difference
(`tests/telemetry/test_unrecorded.py`).

A request is counted when the last part of its answer is handed over, before the client can have it.
"""

from collections.abc import Awaitable
from time import perf_counter

from opentelemetry import context as contexts
from opentelemetry.context import Context
from starlette.types import ASGIApp, Message, Receive, Send

from .head_sampling import HeadSampler
from .late_spans import LateSpans
from .request_metrics import RequestMetrics
from .routes import Routes, Scope, request_method

_ENDS = frozenset(("http.response.body", "http.response.pathsend", "http.response.zerocopysend"))
_SERVER_ERROR = 500
_INSIDE = "telemetry.inside"  # a request is one, however many instrumented applications are mounted in one another
_NATIVE = "fastapi.telemetry"  # where it is there, an application that is mounted leaves its own telemetry off


class BypassMiddleware:
    """The ASGI layer.

    Args:
        app: what the instrumentation calls.
        instrumented: the same through the instrumentation.
        head_sampler: decides which of the two serves a request.
        routes: the application's routes.
        meters: the interceptor's metrics.
        late_spans: writes the spans of requests that failed or were slow; None writes none.
    """

    def __init__(
        self,
        app: ASGIApp,
        instrumented: ASGIApp,
        head_sampler: HeadSampler,
        routes: Routes,
        meters: RequestMetrics,
        late_spans: LateSpans | None,
    ) -> None:
        # Not `app`: for each request FastAPI follows that name from layer to layer, in search of contrib.
        self._app = app
        self._instrumented = instrumented
        self._head_sampler = head_sampler
        self._routes = routes
        self._meters = meters
        self._late_spans = late_spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if _INSIDE in scope:
            await self._app(scope, receive, send)
            return
        scope[_INSIDE] = True
        scope.setdefault(_NATIVE, None)
        context = self._head_sampler.bypass_context(scope)
        if context is None:
            await self._instrumented(scope, receive, send)
        else:
            await self._serve_unrecorded(context, scope, receive, send)

    async def _serve_unrecorded(self, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        method, route = request_method(scope), self._routes.full_template(scope)
        status, seconds = 0, -1.0
        meters = self._meters
        meters.add_active(method, 1)
        begun = perf_counter()

        def send_wrapper(message: Message) -> Awaitable[None]:
            nonlocal status, seconds
            kind = message["type"]
            if kind == "http.response.start":
                status = message["status"]
            elif seconds < 0 and kind in _ENDS and not message.get("more_body", False):
                seconds = perf_counter() - begun
                meters.record_end(method, route, status, seconds)
            return send(message)

        error: BaseException | None = None
        token = contexts.attach(context)
        try:
            await self._app(scope, receive, send_wrapper)
        except BaseException as raised:
            error = raised
            if isinstance(raised, Exception):
                status = status or _SERVER_ERROR  # it is what the layer outside answers
            raise
        finally:
            if seconds < 0:
                seconds = perf_counter() - begun
                meters.record_end(method, route, status, seconds)
            if self._late_spans is not None:
                self._late_spans.write_if_due(scope, route, status, seconds, error)
            contexts.detach(token)
