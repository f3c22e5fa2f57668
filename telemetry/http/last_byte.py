"""Has an instrumentation's metrics of a request end with the last byte of its answer, each request once.

contrib counts a request as active when it begins, and records its duration and that it is active no more when the
application has returned: after its background tasks. FastAPI does when the last byte is handed over, and a client may
be quicker. `until_last_byte` wraps the meter provider that they are given: the `RequestMeasurement` records both
instruments before the last byte goes, and what is said of the request later is not recorded again. A request without a
last byte is recorded when it leaves the application.
"""

from contextvars import ContextVar
from typing import Any, cast

from opentelemetry.metrics import MeterProvider

from .measurement import RequestMeasurement
from .request_metrics import ACTIVE_REQUESTS, DURATION, RequestMetrics
from .wrapper import Wrapper

CURRENT: ContextVar[RequestMeasurement | None] = ContextVar("telemetry-request", default=None)
"""The request that is served in this context."""


def until_last_byte(provider: MeterProvider, metrics: RequestMetrics) -> MeterProvider:
    """Return the same provider, of which the two instruments of a request are recorded at its last byte."""
    return cast("MeterProvider", _Provider(provider, metrics))


class _Provider(Wrapper[RequestMetrics]):
    def get_meter(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the SDK's
        return _Meter(self.inside.get_meter(*args, **options), self.extra)


class _Meter(Wrapper[RequestMetrics]):
    def create_histogram(self, name: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the SDK's
        made = self.inside.create_histogram(name, *args, **options)
        return _Duration(made, self.extra) if name == DURATION else made

    def create_up_down_counter(self, name: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the SDK's
        made = self.inside.create_up_down_counter(name, *args, **options)
        return _Active(made, self.extra) if name == ACTIVE_REQUESTS else made


class _Duration(Wrapper[RequestMetrics]):
    def record(self, amount: float, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as the SDK's
        request = CURRENT.get()
        if request is None:
            self.inside.record(amount, *args, **options)
        else:
            request.end()


class _Active(Wrapper[RequestMetrics]):
    def add(self, amount: float, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as the SDK's
        request = CURRENT.get()
        if request is None:
            self.inside.add(amount, *args, **options)
        elif amount > 0:
            self.inside.add(amount, *args, **options)
            request.metrics = self.extra  # which counts it out when it ends
        else:
            CURRENT.set(None)  # nothing is said of the request after that
