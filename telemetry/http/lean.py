"""The cheap interceptor: every request is measured here, and contrib makes the spans of those that are recorded.

Whether a trace is recorded is decided before any work is done for it (`telemetry.http.head_sampling`); what is not
passes the instrumentation by (`telemetry.http.bypass`). contrib is given no meters.
"""

from opentelemetry.metrics import NoOpMeterProvider
from starlette.applications import Starlette
from starlette.types import ASGIApp

from .bypass import BypassMiddleware
from .contrib import SpanMaker, add_instrumentation
from .parts import Parts
from .routes import Routes


def instrument(app: Starlette, parts: Parts) -> None:
    """Instrument an application, before it serves its first request."""
    routes, excluded = Routes(app), parts.excludes()
    metrics = parts.request_metrics()
    sampler = parts.head_sampler

    def layer(app: ASGIApp, spans: SpanMaker) -> ASGIApp:
        return BypassMiddleware(app, spans, sampler, routes, metrics, parts.late_spans, excluded)

    add_instrumentation(app, parts, routes, NoOpMeterProvider(), layer)
