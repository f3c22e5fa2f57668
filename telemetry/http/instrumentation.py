"""The global interceptor: spans and metrics of every request to a FastAPI app, no code in any handler.

``contrib`` is OpenTelemetry's `FastAPIInstrumentor`; ``native`` is FastAPI's own telemetry, which must be
given to the constructor: ``FastAPI(telemetry=fastapi_config(...))``. Both give one server span per request,
and the metrics ``http.server.request.duration`` and ``http.server.active_requests`` of the stable HTTP
conventions, with the same names and labels. Only the one that is chosen is loaded.
"""

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.types import ASGIApp

from .bypass import BypassMiddleware
from .parts import Parts
from .request_metrics import RequestMetrics
from .routes import Routes

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig


def instrument(app: FastAPI, parts: Parts) -> None:
    """Instrument an application, before it serves its first request.

    Raises:
        RuntimeError: ``native`` is asked for, and the application was built without `fastapi_config`.
    """
    settings = parts.settings
    if settings.sdk_disabled:
        return
    routes = Routes(app)
    parts.head_sampler.register(app)

    def bypass(app: ASGIApp, instrumented: ASGIApp) -> ASGIApp:
        metrics = RequestMetrics(parts.meters, parts.listener)
        return BypassMiddleware(app, instrumented, parts.head_sampler, routes, metrics, parts.late_spans)

    if settings.interceptor == "native":
        from . import native  # noqa: PLC0415 - only the one that is chosen is loaded

        native.instrument(app, parts, routes, bypass)
    else:
        from . import contrib  # noqa: PLC0415 - as above

        contrib.instrument(app, parts, routes, bypass)


def fastapi_config(parts: Parts) -> "TelemetryConfig":
    """Return what to pass as ``FastAPI(telemetry=...)``: its own telemetry on for ``native``, off otherwise."""
    if parts.settings.sdk_disabled or parts.settings.interceptor != "native":
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    from . import native  # noqa: PLC0415 - as in `instrument`

    return native.config(parts)
