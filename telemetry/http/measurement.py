"""One request, measured from when it comes in to when the last part of its answer is handed over.

That is where every interceptor ends a duration: before the client can have the answer, and not after the background
tasks that the application then runs. A request without a whole answer ends with its call.
"""

from collections.abc import Awaitable
from http import HTTPStatus
from time import perf_counter

from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext
from starlette.types import Message, Send

from .late_spans import LateSpans
from .request_metrics import RequestMetrics
from .routes import RequestRoute
from .semantics import Scope, request_method

_BODIES = frozenset(("http.response.body", "http.response.pathsend", "http.response.zerocopysend"))
_TRAILERS = "http.response.trailers"


class RequestMeasurement:
    """The measurement of one request; use `send` in place of the server's own.

    Args:
        scope: the request, before anybody has changed it.
        send: the server's.
        metrics: where it is recorded when it ends; None where somebody else does.
        route: its route; or the template, where that is known beforehand.

    Attributes:
        method: that of the request, as an attribute.
        metrics: as above; may be set until it ends.
        recorded: whether its trace is recorded.
        route: as above.
        seconds: how long it took; less than 0 until it has ended.
        span_context: that of its server span.
        status: that of its answer; 0 before, and where it has none.
    """

    __slots__ = (
        *("_answer", "_begun", "_scope", "_send", "_with_trailers"),
        *("method", "metrics", "recorded", "route", "seconds", "span_context", "status"),
    )

    def __init__(self, scope: Scope, send: Send, metrics: RequestMetrics | None, route: RequestRoute | str) -> None:
        self._begun = perf_counter()
        self._scope = scope
        self._send = send
        self._with_trailers = False
        self._answer: Message | None = None
        self.method = request_method(scope)
        self.metrics = metrics
        self.recorded = False
        self.route = route
        self.seconds = -1.0
        self.span_context: SpanContext = INVALID_SPAN_CONTEXT
        self.status = 0

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a part of the answer on; note its status and its end."""
        kind = message["type"]
        if kind == "http.response.start":
            self._answer, self.status = message, message["status"]
            if "trailers" in message:
                self._with_trailers = message["trailers"]
        elif self.seconds < 0:
            if kind in _BODIES:
                if not self._with_trailers and not message.get("more_body", False):
                    self.end()
            elif kind == _TRAILERS and not message.get("more_trailers", False):
                self.end()
        return self._send(message)

    def end(self) -> None:
        """End it now, and record it; a second call does nothing."""
        if self.seconds >= 0:
            return
        self.seconds = seconds = perf_counter() - self._begun
        template = self.template()
        metrics = self.metrics
        if metrics is not None:
            metrics.record_end(self._scope, self.method, template, self.status, seconds, recorded=self.recorded)

    def template(self) -> str | None:
        """Return the template of its route, once it is answered."""
        return self.route if isinstance(self.route, str) else self.route.template(self._scope)

    def finish(self, error: BaseException | None, late_spans: LateSpans | None) -> None:
        """End it at the latest, and write its span if it was not recorded and one is due.

        Args:
            error: what the application raised.
            late_spans: writes the span; None writes none.
        """
        if self.seconds < 0:
            if isinstance(error, Exception) and not self.status:
                self.status = HTTPStatus.INTERNAL_SERVER_ERROR.value  # it is what the layer outside answers
            self.end()
        if late_spans is not None and not self.recorded and late_spans.is_due(self.status, self.seconds, error):
            late_spans.write(
                self.span_context, self._scope, self.template(), self.status, self.seconds, error, self._answer
            )
