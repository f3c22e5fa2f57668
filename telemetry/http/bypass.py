"""What stands in for the instrumentation where a trace is not recorded: the same context and metrics, nothing else.

Of a busy sale's requests one in a hundred is recorded. For the others an instrumentation puts together a span that
nobody will see. `Unrecorded` makes the request's trace id current, measures ``http.server.request.duration`` and
``http.server.active_requests`` with the labels that both instrumentations give them, and looks whether a span is due
afterwards. Whoever reads `/metrics`, an answer or a log line cannot tell the difference
(`tests/telemetry/test_unrecorded.py`).

A request is counted when the last part of its answer is handed over, before the client can have it.
"""

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.semconv._incubating.metrics.http_metrics import HTTP_SERVER_ACTIVE_REQUESTS
from starlette.types import ASGIApp, Message, Receive, Send

from ..metrics.aggregation import Histogram, UpDownCounter
from ..metrics.provider import Meters
from ..metrics.specs import MOST_SERIES
from .duration_listener import DURATION, Listener
from .head_sampling import Entry
from .late_spans import Afterwards
from .routes import Routes, Scope, request_method

_ENDS = frozenset(("http.response.body", "http.response.pathsend", "http.response.zerocopysend"))
_SERVER_ERROR = 500
_INSIDE = "telemetry.inside"  # a request is one, however many instrumented applications are mounted in one another
_NATIVE = "fastapi.telemetry"  # where it is there, an application that is mounted leaves its own telemetry off
_logger = logging.getLogger(__name__)


class RequestMeters:
    """The two instruments of the interceptor, with each series looked up once.

    Args:
        meters: where the instrumentation's own come from.
        listener: is told of each request, as `telemetry.http.duration_listener` does it; None for nobody.
    """

    def __init__(self, meters: Meters, listener: Listener | None) -> None:
        self._duration = meters.recorded(Histogram, DURATION, "s", "Duration of HTTP server requests.")
        self._active = meters.recorded(
            UpDownCounter, HTTP_SERVER_ACTIVE_REQUESTS, "{request}", "Number of active HTTP server requests."
        )
        self._listener = listener
        self._changes: dict[str, Callable[[float], None]] = {}
        self._records: dict[tuple[str, str | None, int], Callable[[float], None]] = {}

    def active(self, method: str, change: int) -> None:
        """One request more or less is under way."""
        changed = self._changes.get(method)
        if changed is None:
            if self._active is None:
                return
            changed = self._changes[method] = self._active.bound({"http.request.method": method})
        changed(change)

    def ended(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """A request ended; its status is 0 when it had no answer."""
        record = self._records.get((method, route, status)) or self._record(method, route, status)
        record(seconds)
        self.active(method, -1)
        if self._listener is not None:
            try:
                self._listener(method, route or "", status, seconds)
            except Exception:  # telemetry never breaks its host
                _logger.exception("a listener to request durations failed")

    def _record(self, method: str, route: str | None, status: int) -> Callable[[float], None]:
        if self._duration is None:
            return lambda _: None
        attributes: dict[str, str | int] = {"http.request.method": method}
        if route is not None:
            attributes["http.route"] = route
        if status:
            attributes["http.response.status_code"] = status
        record = self._duration.bound(attributes)
        if len(self._records) < MOST_SERIES:
            self._records[method, route, status] = record
        return record


class Unrecorded:
    """The ASGI layer.

    Args:
        app: what the instrumentation calls.
        instrumented: the same through the instrumentation.
        entry: decides which of the two serves a request.
        routes: the application's routes.
        meters: the interceptor's metrics.
        afterwards: writes the spans of requests that failed or were slow; None writes none.
    """

    def __init__(
        self,
        app: ASGIApp,
        instrumented: ASGIApp,
        entry: Entry,
        routes: Routes,
        meters: RequestMeters,
        afterwards: Afterwards | None,
    ) -> None:
        # Not `app`: for each request FastAPI follows that name from layer to layer, in search of contrib.
        self._app = app
        self._instrumented = instrumented
        self._entry = entry
        self._routes = routes
        self._meters = meters
        self._afterwards = afterwards

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if _INSIDE in scope:
            await self._app(scope, receive, send)
            return
        scope[_INSIDE] = True
        scope.setdefault(_NATIVE, None)
        context = self._entry.context(scope)
        if context is None:
            await self._instrumented(scope, receive, send)
        else:
            await self._pass_by(context, scope, receive, send)

    async def _pass_by(self, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        method, route = request_method(scope), self._routes.whole(scope)
        status, seconds = 0, -1.0
        meters = self._meters
        meters.active(method, 1)
        begun = perf_counter()

        def told(message: Message) -> Awaitable[None]:
            nonlocal status, seconds
            kind = message["type"]
            if kind == "http.response.start":
                status = message["status"]
            elif seconds < 0 and kind in _ENDS and not message.get("more_body", False):
                seconds = perf_counter() - begun
                meters.ended(method, route, status, seconds)
            return send(message)

        error: BaseException | None = None
        token = contexts.attach(context)
        try:
            await self._app(scope, receive, told)
        except BaseException as raised:
            error = raised
            if isinstance(raised, Exception):
                status = status or _SERVER_ERROR  # it is what the layer outside answers
            raise
        finally:
            if seconds < 0:
                seconds = perf_counter() - begun
                meters.ended(method, route, status, seconds)
            if self._afterwards is not None:
                self._afterwards.consider(scope, route, status, seconds, error)
            contexts.detach(token)
