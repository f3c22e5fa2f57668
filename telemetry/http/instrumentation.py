"""The global interceptor: spans and metrics of every request to a FastAPI app, no code in any handler.

``contrib`` is OpenTelemetry's `FastAPIInstrumentor`; ``native`` is FastAPI's own telemetry, which must be
given to the constructor: ``FastAPI(telemetry=fastapi_config(...))``. Both give one server span per request,
and the metrics ``http.server.request.duration`` and ``http.server.active_requests`` of the stable HTTP
conventions, with the same names and labels: `telemetry.http.compatibility` sees to that.

The contrib instrumentation names its metrics after ``OTEL_SEMCONV_STABILITY_OPT_IN``, which it reads once per
process. `use_stable_conventions` puts ``http,database`` in force; under the old default, the client's Host
header becomes a metric label.
"""

import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from opentelemetry.instrumentation._semconv import (
    OTEL_SEMCONV_STABILITY_OPT_IN,
    _OpenTelemetrySemanticConventionStability,
    _OpenTelemetryStabilitySignalType,
    _StabilityMode,
)
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from opentelemetry.util.http import OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST
from starlette.types import ASGIApp

from ..metrics.aggregation import Kept
from ..metrics.provider import Meters
from ..metrics.specs import SECONDS_BUCKETS
from ..settings import TelemetrySettings
from .bypass import RequestMeters, Unrecorded
from .compatibility import level_contrib, level_native
from .duration_listener import Listener, tapped
from .head_sampling import Entry
from .late_spans import Afterwards
from .routes import Routes

KEPT: Mapping[str, Kept | None] = {
    "http.server.request.duration": Kept(
        attributes=("http.request.method", "http.route", "http.response.status_code"), buckets=SECONDS_BUCKETS
    ),
    "http.server.active_requests": Kept(attributes=("http.request.method",)),
    # contrib keeps the response's length on the shared middleware: concurrent requests get each other's.
    "http.server.request.body.size": None,
    "http.server.response.body.size": None,
}
"""What is kept of the interceptor's metrics: two instruments, with bounded labels."""


def use_stable_conventions() -> None:
    """Put the stable HTTP and database conventions in force for this process's instrumentations."""
    state = _OpenTelemetrySemanticConventionStability
    asked = (part.strip() for part in os.environ.get(OTEL_SEMCONV_STABILITY_OPT_IN, "").split(","))
    others = [part for part in asked if part and part.split("/")[0] not in ("http", "database")]
    os.environ[OTEL_SEMCONV_STABILITY_OPT_IN] = ",".join(["http", "database", *others])
    if not _http_is_stable():
        # Another library came first and fixed the old default; what it made already stays as it is.
        state._initialized = False  # noqa: SLF001 - there is no public way to change it
        _http_is_stable()


def _http_is_stable() -> bool:
    state = _OpenTelemetrySemanticConventionStability
    state._initialize()  # type: ignore[no-untyped-call]  # noqa: SLF001 - there is no public way to ask
    http = _OpenTelemetryStabilitySignalType.HTTP
    mode = state._get_opentelemetry_stability_opt_in_mode(http)  # noqa: SLF001 - as above
    return mode is _StabilityMode.HTTP


@dataclass(frozen=True, slots=True)
class Parts:
    """What an application is instrumented with.

    Attributes:
        settings: which interceptor, and the paths that it leaves alone.
        tracers: where spans come from.
        meters: where metrics go.
        listener: is told of each request that is measured.
        entry: decides which requests are recorded; the others pass the instrumentation by.
        afterwards: writes the spans of those that failed or were slow; None writes none.
    """

    settings: TelemetrySettings
    tracers: TracerProvider
    meters: Meters
    listener: Listener | None
    entry: Entry
    afterwards: Afterwards | None

    def tapped_meters(self) -> MeterProvider:
        """Where the instrumentation's metrics go."""
        return tapped(self.meters, self.listener) if self.listener else self.meters


def instrument(app: FastAPI, parts: Parts) -> None:
    """Instrument an application, before it serves its first request.

    Raises:
        RuntimeError: ``native`` is asked for, and the application was built without `fastapi_config`.
    """
    settings = parts.settings
    if settings.sdk_disabled:
        return
    routes = Routes(app)
    parts.entry.open(app)

    def bypass(app: ASGIApp, instrumented: ASGIApp) -> ASGIApp:
        meters = RequestMeters(parts.meters, parts.listener)
        return Unrecorded(app, instrumented, parts.entry, routes, meters, parts.afterwards)

    if settings.interceptor == "native":
        config = app._telemetry  # noqa: SLF001 - FastAPI shows its settings nowhere else
        if config.get("tracer_provider") is not parts.tracers:
            raise RuntimeError("TELEMETRY_INTERCEPTOR=native needs FastAPI(telemetry=telemetry.fastapi_config())")
        _rebuild(app, lambda stack: level_native(stack, routes, bypass))
        return
    use_stable_conventions()
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=parts.tracers,
        meter_provider=parts.tapped_meters(),
        excluded_urls="",  # it would put together the URL of each request and search in it
        exclude_spans=["receive", "send"],
    )
    excluded, headers = frozenset(settings.excluded_paths), _headers_of_interest(settings)
    _rebuild(app, lambda stack: level_contrib(stack, routes, bypass, excluded=excluded, headers=headers))


def _rebuild(app: FastAPI, change: Callable[[ASGIApp], ASGIApp]) -> None:
    """Have the application's stack of layers changed when it is built, at the first request."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: change(build())  # type: ignore[method-assign]  # contrib does the same


def fastapi_config(parts: Parts) -> TelemetryConfig:
    """What to pass as ``FastAPI(telemetry=...)``: its own telemetry on for ``native``, off otherwise."""
    settings = parts.settings
    if settings.sdk_disabled or settings.interceptor != "native":
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    excluded = frozenset(settings.excluded_paths)

    def exclude(scope: MutableMapping[str, Any]) -> bool:
        return scope["path"] in excluded or parts.entry.leaves(scope)

    return {
        "tracer_provider": parts.tracers,
        "meter_provider": parts.tapped_meters(),
        "tracing": True,
        "metrics": True,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": exclude,
    }


def _headers_of_interest(settings: TelemetrySettings) -> frozenset[bytes] | None:
    """The request headers that contrib needs; None for all, when the environment may name more."""
    if settings.keep_propagators or os.environ.get(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST):
        return None
    return frozenset((b"host", b"user-agent", b"traceparent", b"tracestate", b"baggage"))
