"""OpenTelemetry's ASGI layer in an application of Starlette's, where `FastAPIInstrumentor` puts it in one of FastAPI's.

It stands outside of the application's handlers of errors, so that these and their answers are inside the span; and what
the application raises is an event of the span before a handler answers.
"""

from importlib.metadata import version
from typing import Any

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Status, StatusCode, TracerProvider, get_current_span
from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Send

from .captured_headers import CapturedHeaders
from .parts import change_stack
from .semantics import Scope

_NAME = "opentelemetry.instrumentation.asgi"


def instrument_app(app: Starlette, tracers: TracerProvider, meters: MeterProvider, headers: CapturedHeaders) -> None:
    """Put the layer in; exclusion and names are `telemetry.http.contrib`'s."""
    release = version("opentelemetry-instrumentation-asgi")
    instruments: dict[str, Any] = {
        "tracer": tracers.get_tracer(_NAME, release),
        "meter": meters.get_meter(_NAME, release),
        "excluded_urls": "",
        "exclude_spans": ["receive", "send"],
        **headers.for_contrib(),
    }

    def change(stack: ASGIApp) -> ASGIApp:
        if not isinstance(stack, ServerErrorMiddleware):
            return stack
        inside = ServerErrorMiddleware(_ExceptionEvents(stack.app), stack.handler, stack.debug)
        return ServerErrorMiddleware(OpenTelemetryMiddleware(inside, **instruments))

    change_stack(app, change)


class _ExceptionEvents:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            span = get_current_span()
            if span.is_recording():
                span.record_exception(error)
                span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
            raise
