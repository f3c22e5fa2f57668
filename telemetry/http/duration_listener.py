"""Listens to the interceptor's request durations, so that nothing is measured a second time.

`with_listener` wraps the meter provider that is given to the interceptor. What it records of
``http.server.request.duration`` goes to the SDK as before, and is told to the listener with the labels that it is
exported with.
"""

from typing import Any, cast

from opentelemetry.metrics import MeterProvider

from .request_metrics import DURATION, RequestListener, tell
from .wrapper import Wrapper


def with_listener(provider: MeterProvider, listener: RequestListener) -> MeterProvider:
    """Return the same provider, with a listener to the durations of requests."""
    return cast("MeterProvider", _Provider(provider, listener))


class _Provider(Wrapper[RequestListener]):
    def get_meter(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the SDK's
        return _Meter(self.inside.get_meter(*args, **options), self.extra)


class _Meter(Wrapper[RequestListener]):
    def create_histogram(self, name: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the SDK's
        made = self.inside.create_histogram(name, *args, **options)
        return _Histogram(made, self.extra) if name == DURATION else made


class _Histogram(Wrapper[RequestListener]):
    def record(self, amount: float, attributes: Any = None, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as the SDK's
        self.inside.record(amount, attributes, *args, **options)
        method = attributes.get("http.request.method")
        if method is not None:  # a WebSocket has none
            status = int(attributes.get("http.response.status_code") or 0)
            tell(self.extra, method, attributes.get("http.route"), status, amount)
