"""What an application is instrumented with, whichever interceptor does it."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from starlette.types import ASGIApp

from ..metrics.provider import AggregatingMeterProvider
from ..settings import TelemetrySettings
from .duration_listener import with_listener
from .head_sampling import HeadSampler
from .late_spans import LateSpans
from .request_metrics import RequestListener

Bypass = Callable[[ASGIApp, ASGIApp], ASGIApp]
"""Given an application and the same with its instrumentation, a layer that chooses between them."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What an application is instrumented with.

    Attributes:
        settings: which interceptor, and the paths that it leaves alone.
        tracers: where spans come from.
        meters: where metrics go.
        listener: is told of each request that is measured.
        head_sampler: decides which requests are recorded; the others pass the instrumentation by.
        late_spans: writes the spans of those that failed or were slow; None writes none.
    """

    settings: TelemetrySettings
    tracers: TracerProvider
    meters: AggregatingMeterProvider
    listener: RequestListener | None
    head_sampler: HeadSampler
    late_spans: LateSpans | None

    def listened_meters(self) -> MeterProvider:
        """Return where the instrumentation's metrics go."""
        return with_listener(self.meters, self.listener) if self.listener else self.meters


def change_stack(app: FastAPI, change: Callable[[ASGIApp], ASGIApp]) -> None:
    """Have the application's stack of layers changed when it is built, at the first request."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: change(build())  # type: ignore[method-assign]  # contrib does the same
