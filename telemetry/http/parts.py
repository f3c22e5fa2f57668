"""What an application is instrumented with, whichever interceptor does it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.trace import TracerProvider
from starlette.applications import Starlette
from starlette.types import ASGIApp

from ..metrics.provider import AggregatingMeterProvider
from ..settings import TelemetrySettings
from .exclusion import Around, Excludes, excludes
from .head_sampling import HeadSampler
from .late_spans import LateSpans
from .options import RequestOptions
from .request_metrics import RequestListener, RequestMetrics


@dataclass(frozen=True, slots=True)
class Parts:
    """What an application is instrumented with.

    Attributes:
        settings: which interceptor, and the paths that it leaves alone.
        tracers: where spans come from.
        meters: where metrics go.
        listener: is told of each request that is measured.
        head_sampler: decides for ``lean`` which requests are recorded.
        late_spans: writes the spans of requests that failed or were slow and are not recorded; None writes none.
        options: labels, buckets and hooks.
        is_global: whether the providers are OpenTelemetry's global ones.
    """

    settings: TelemetrySettings
    tracers: TracerProvider
    meters: AggregatingMeterProvider
    listener: RequestListener | None
    head_sampler: HeadSampler
    late_spans: LateSpans | None
    options: RequestOptions
    is_global: bool

    def without(self, path: str) -> "Parts":
        """Return the same for an application of which one path more leaves no telemetry."""
        paths = (*self.settings.excluded_paths, path)
        return replace(self, settings=replace(self.settings, excluded_paths=paths))

    def excludes(self) -> Excludes:
        """Return what says which requests leave no telemetry."""
        return self.around().excluding(excludes(self.settings))

    def excludes_for_fastapi(self) -> Excludes:
        """Return the same for FastAPI's own telemetry of the application itself."""
        return self.around().marking(excludes(self.settings))

    def around(self) -> Around:
        """Return what knows of applications that this one is mounted in."""
        return Around(is_global=self.is_global)

    def request_metrics(self) -> RequestMetrics:
        """Return where requests are recorded."""
        return RequestMetrics(self.meters, self.listener, self.options.labels)


def change_stack(app: Starlette, change: Callable[[ASGIApp], ASGIApp]) -> None:
    """Have the application's stack of layers changed when it is built, at the first request."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: change(build())  # type: ignore[method-assign]  # contrib does the same


def is_fastapi(app: Starlette) -> bool:
    """Return whether an application is one of FastAPI's, which need not be installed."""
    return own_config(app) is not None


def own_config(app: Starlette) -> dict[str, Any] | None:
    """Return the settings of FastAPI's own telemetry, which it shows nowhere else; None where it has none."""
    config: dict[str, Any] | None = getattr(app, "_telemetry", None)
    return config
