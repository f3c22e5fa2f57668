"""The two metrics of the interceptor: how long requests took, and how many are under way.

`RequestMetrics` records them where this package measures a request itself; an instrumentation that does it makes the
same two instruments, of which `HTTP_VIEWS` keeps the same labels.
"""

import logging
from collections.abc import Callable, Mapping

from ..failures import FailureLogger
from ..metrics.aggregation import Histogram, UpDownCounter, View
from ..metrics.provider import AggregatingMeterProvider
from ..metrics.specs import MAX_SERIES, SECONDS_BUCKETS
from .labels import LabelReader
from .semantics import Scope

DURATION = "http.server.request.duration"
ACTIVE_REQUESTS = "http.server.active_requests"

DURATION_VIEW = View(
    attributes=("http.request.method", "http.route", "http.response.status_code"), buckets=SECONDS_BUCKETS
)
HTTP_VIEWS: Mapping[str, View | None] = {
    DURATION: DURATION_VIEW,
    ACTIVE_REQUESTS: View(attributes=("http.request.method",)),
    # contrib keeps the response's length on the shared middleware: concurrent requests get each other's.
    "http.server.request.body.size": None,
    "http.server.response.body.size": None,
}
"""What is kept of the interceptor's metrics: two instruments, with bounded labels."""

RequestListener = Callable[[str, str, int, float], None]
"""Is told method, route template ('' where none matched), status and seconds of each request."""

_failure_logger = FailureLogger(logging.getLogger(__name__))


class RequestMetrics:
    """The two instruments of the interceptor, with each series looked up once.

    Args:
        meters: where they come from; an instrumentation that makes them there has the same two.
        listener: is told of each request; None for nobody.
        labels: further labels of a duration; None for none.
    """

    def __init__(
        self, meters: AggregatingMeterProvider, listener: RequestListener | None, labels: LabelReader | None = None
    ) -> None:
        self._duration = meters.instrument(Histogram, DURATION, "s", "Duration of HTTP server requests.")
        self._active = meters.instrument(
            UpDownCounter, ACTIVE_REQUESTS, "{request}", "Number of active HTTP server requests."
        )
        self._listener = listener
        self._labels = labels
        self._changes: dict[str, Callable[[float], None]] = {}
        self._records: dict[tuple[str, str | None, int, tuple[str, ...]], Callable[[float], None]] = {}

    def add_active(self, method: str, change: int) -> None:
        """Count one request more or less that is under way."""
        changed = self._changes.get(method)
        if changed is None:
            if self._active is None:
                return
            changed = self._changes[method] = self._active.bind({"http.request.method": method})
        changed(change)

    def record_end(
        self, scope: Scope, method: str, route: str | None, status: int, seconds: float, *, recorded: bool
    ) -> None:
        """Record a request that has ended.

        Args:
            scope: the request.
            method: that of the request, as an attribute.
            route: the template, None where none matched.
            status: that of its answer; 0 when it had none.
            seconds: how long it took.
            recorded: whether its trace is recorded and current, so that it may become an exemplar.
        """
        labels = () if self._labels is None else self._labels.values(scope)
        if recorded and self._duration is not None:
            self._duration.record(seconds, self._attributes(method, route, status, labels))
        else:
            record = self._records.get((method, route, status, labels))
            if record is None:
                record = self._make_record(method, route, status, labels)
            record(seconds)
        self.add_active(method, -1)
        tell(self._listener, method, route, status, seconds)

    def _make_record(
        self, method: str, route: str | None, status: int, labels: tuple[str, ...]
    ) -> Callable[[float], None]:
        if self._duration is None:
            return lambda _: None
        record = self._duration.bind(self._attributes(method, route, status, labels))
        if len(self._records) < MAX_SERIES:
            self._records[method, route, status, labels] = record
        return record

    def _attributes(self, method: str, route: str | None, status: int, labels: tuple[str, ...]) -> dict[str, str | int]:
        attributes = request_attributes(method, route, status)
        return attributes if self._labels is None else {**attributes, **self._labels.attributes(labels)}


def request_attributes(method: str, route: str | None, status: int) -> dict[str, str | int]:
    """Return the attributes of a request's duration."""
    attributes: dict[str, str | int] = {"http.request.method": method}
    if route is not None:
        attributes["http.route"] = route
    if status:
        attributes["http.response.status_code"] = status
    return attributes


def tell(listener: RequestListener | None, method: str, route: str | None, status: int, seconds: float) -> None:
    """Tell a listener of a request; what goes wrong in it is logged."""
    if listener is not None:
        try:
            listener(method, route or "", status, seconds)
        except Exception:  # telemetry never breaks its host
            _failure_logger.exception("a listener to request durations failed")
