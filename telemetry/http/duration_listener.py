"""Listens to the interceptor's request durations, so that nothing is measured a second time.

`with_listener` wraps the meter provider that is given to the interceptor. What it records of
``http.server.request.duration`` goes to the SDK as before, and is told to the listener with the labels that it is
exported with.
"""

import logging
from typing import Any, cast

from opentelemetry.metrics import MeterProvider

from .request_metrics import DURATION, RequestListener

_logger = logging.getLogger(__name__)


def with_listener(provider: MeterProvider, listener: RequestListener) -> MeterProvider:
    """Return the same provider, with a listener to the durations of requests."""
    return cast("MeterProvider", _Provider(provider, listener))


class _Wrapper:
    """Whatever is not said here is said by the object inside."""

    def __init__(self, inside: Any, listener: RequestListener) -> None:  # noqa: ANN401 - providers, meters and instruments
        self._inside = inside
        self._listener = listener

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._inside, name)


class _Provider(_Wrapper):
    def get_meter(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the SDK's
        return _Meter(self._inside.get_meter(*args, **options), self._listener)


class _Meter(_Wrapper):
    def create_histogram(self, name: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the SDK's
        made = self._inside.create_histogram(name, *args, **options)
        return _Histogram(made, self._listener) if name == DURATION else made


class _Histogram(_Wrapper):
    def record(self, amount: float, attributes: Any = None, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as the SDK's
        self._inside.record(amount, attributes, *args, **options)
        try:
            method = attributes.get("http.request.method")
            if method is not None:  # a WebSocket has none
                route = attributes.get("http.route") or ""
                self._listener(method, route, int(attributes.get("http.response.status_code") or 0), amount)
        except Exception:  # telemetry never breaks its host
            _logger.exception("a listener to request durations failed")
