"""Requests whose trace was not recorded, and that then failed or were slow, leave their server span all the same.

`telemetry.http.measurement` asks `LateSpans` when one has ended. Only when a request answers with 5xx, ends with an
exception or takes ``slow_seconds`` does `LateSpanWriter` make a span of the SDK's own, with the ids that the request
had, so that the trace id in the answer and in the log lines finds it. It is marked with `MARK`; the spans below it were
never made.

At most ``per_second`` are written each second: an outage must not become a flood. What is left out is counted.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TracerProvider, get_current_span
from opentelemetry.util.types import AttributeValue
from starlette.types import Message

from ..failures import FailureLogger
from ..metrics.specs import CounterSpec
from .captured_headers import CapturedHeaders
from .head_sampling import extract_context
from .semantics import Scope, request_method, span_name

MARK = "telemetry.written_afterwards"
_NANOS = 1_000_000_000
_logger = logging.getLogger(__name__)


LATE_SPANS = CounterSpec(
    name="telemetry.afterwards",
    unit="{span}",
    description="Requests that failed or were slow without being recorded: spans written afterwards, or left out.",
    attributes={"result": ("written", "left_out")},
)


class RateLimit:
    """Admits ``per_second`` events in each second."""

    def __init__(self, per_second: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._begun = clock()
        self._admitted = 0

    def admit(self) -> bool:
        """Count one event and say whether it is within the limit."""
        with self._lock:
            now = self._clock()
            if now - self._begun >= 1:
                self._begun, self._admitted = now, 0
            self._admitted += 1
            return self._admitted <= self._per_second


class FixedIdGenerator(IdGenerator):
    """Gives the next span the ids of a request that has them already."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._context: SpanContext | None = None

    @contextmanager
    def use(self, context: SpanContext) -> Iterator[None]:
        """Begin one span in this block."""
        with self._lock:
            self._context = context
            try:
                yield
            finally:
                self._context = None

    def generate_span_id(self) -> int:
        """Return the request's span id."""
        return self._given().span_id

    def generate_trace_id(self) -> int:
        """Return the request's trace id."""
        return self._given().trace_id

    def is_trace_id_random(self) -> bool:
        """Say that they are random: they come from the SDK's own generator."""
        return True

    def _given(self) -> SpanContext:
        if self._context is None:
            raise RuntimeError("a span was begun outside `FixedIdGenerator.use`")
        return self._context


class LateSpanWriter:
    """Writes the spans.

    Args:
        tracers: samples everything, and takes its ids from ``ids``.
        ids: what that provider was made with.
        limit: how many are written.

    Attributes:
        count: told of each request that was due a span, and whether it got one.
    """

    def __init__(self, tracers: TracerProvider, ids: FixedIdGenerator, limit: RateLimit) -> None:
        self._tracer = tracers.get_tracer(__name__)
        self._ids = ids
        self._limit = limit
        self.count: Callable[[bool], None] = lambda _: None

    def write(
        self,
        context: SpanContext,
        name: str,
        attributes: dict[str, AttributeValue],
        *,
        headers: Iterable[tuple[bytes, bytes]],
        seconds: float,
        failed: bool,
        error: BaseException | None,
    ) -> None:
        """Write the span of a request that ends now and took ``seconds``, unless the limit is reached."""
        admitted = self._limit.admit()
        self.count(admitted)
        if not admitted:
            return
        end = time.time_ns()
        with self._ids.use(context):
            span = self._tracer.start_span(
                name,
                _parent(headers, context),
                SpanKind.SERVER,
                {**attributes, MARK: True},
                start_time=end - int(seconds * _NANOS),
            )
        if error is not None:
            span.record_exception(error, timestamp=end)
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(end)


class LateSpans:
    """Looks at each request that was not recorded.

    Args:
        writer: writes the spans that are due.
        slow_seconds: from how long on a request is slow.
    """

    def __init__(self, writer: LateSpanWriter, slow_seconds: float) -> None:
        self._writer = writer
        self._slow_seconds = slow_seconds
        self._captured = CapturedHeaders()
        self._failure_logger = FailureLogger(_logger)

    def is_due(self, status: int, seconds: float, error: BaseException | None) -> bool:
        """Return whether a request that ended so gets its span."""
        return seconds >= self._slow_seconds or status >= HTTPStatus.INTERNAL_SERVER_ERROR or error is not None

    def write(
        self,
        context: SpanContext,
        scope: Scope,
        route: str | None,
        status: int,
        seconds: float,
        error: BaseException | None,
        begun: Message | None = None,
    ) -> None:
        """Write the span of a request that has ended.

        Args:
            context: of its server span, which was not recorded.
            scope: the request.
            route: the template of its route.
            status: that of its answer; 0 when it had none.
            seconds: how long it took, up to the last part of its answer.
            error: what the application raised.
            begun: the message that began the answer; None where there was none.
        """
        if not context.is_valid or context.trace_flags.sampled:
            return
        failed = error is not None or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        try:
            captured = self._captured.of_request(scope) | (self._captured.of_response(begun) if begun else {})
            self._writer.write(
                context,
                span_name(scope, route),
                {**_attributes(scope, route, status, error, failed=failed), **captured},
                headers=scope["headers"],
                seconds=seconds,
                failed=failed,
                error=error,
            )
        except Exception:  # telemetry never breaks its host
            self._failure_logger.exception("the span of a request could not be written afterwards")


def _attributes(
    scope: Scope, route: str | None, status: int, error: BaseException | None, *, failed: bool
) -> dict[str, AttributeValue]:
    """Return the attributes of the stable HTTP conventions, without the query, which may hold a secret."""
    method = request_method(scope)
    attributes: dict[str, AttributeValue] = {
        "http.request.method": method,
        "url.scheme": scope.get("scheme", "http"),
        "url.path": scope["path"],
        "network.protocol.version": scope.get("http_version", "1.1"),
    }
    if route is not None:
        attributes["http.route"] = route
    if method != scope["method"]:
        attributes["http.request.method_original"] = scope["method"]
    if status:
        attributes["http.response.status_code"] = status
    if failed:
        attributes["error.type"] = str(status) if error is None else type(error).__qualname__
    return attributes


def _parent(headers: Iterable[tuple[bytes, bytes]], context: SpanContext) -> Context:
    """Return the caller's span, if the request continued its trace."""
    parent = extract_context(propagate.get_global_textmap(), headers)
    return parent if get_current_span(parent).get_span_context().trace_id == context.trace_id else Context()
