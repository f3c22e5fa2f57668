"""The global interceptor: spans and metrics of every request to a FastAPI app, no code in any handler.

Three do it, with the same series, labels and route templates, whatever is recorded; each measures every request in one
place (docs/decisions/telemetry-interceptor.md):

- ``contrib`` is OpenTelemetry's `FastAPIInstrumentor`, which sees every request;
- ``native`` is FastAPI's own telemetry, which sees every request;
- ``lean`` measures every request itself, and has contrib make the spans of those that are recorded.

Only the one that is chosen is loaded. Each needs an application that was built with `fastapi_config`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import FastAPI

from .parts import Parts

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

_INSTRUMENTED = "telemetry_instrumented"  # in the state of an application: who did it


def instrument(app: FastAPI, parts: Parts) -> None:
    """Instrument an application, before it serves its first request; a second time does nothing.

    Raises:
        RuntimeError: it would measure nothing, or everything twice; the message is one line that says what to do.
    """
    settings = parts.settings
    if settings.sdk_disabled or getattr(app.state, _INSTRUMENTED, None) is parts.tracers:
        return
    _refuse_wrong_states(app, parts)
    import_module(f".{settings.interceptor}", __package__).instrument(app, parts)
    setattr(app.state, _INSTRUMENTED, parts.tracers)


def fastapi_config(parts: Parts) -> "TelemetryConfig":
    """Return what to pass as ``FastAPI(telemetry=...)``: its own telemetry on for ``native``, off otherwise."""
    if parts.settings.sdk_disabled or parts.settings.interceptor != "native":
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    from . import native  # noqa: PLC0415 - only the one that is chosen is loaded

    return native.config(parts)


def _refuse_wrong_states(app: FastAPI, parts: Parts) -> None:
    config = app._telemetry  # noqa: SLF001 - FastAPI shows its settings nowhere else
    if parts.settings.interceptor == "native":
        is_ours = config.get("tracer_provider") is parts.tracers
    else:
        is_ours = not config.get("tracing") and not config.get("metrics")
    if not is_ours:
        raise RuntimeError(
            "the application must be built with FastAPI(telemetry=telemetry.fastapi_config()): "
            "otherwise FastAPI's own telemetry measures every request as well"
        )
    if app.middleware_stack is not None:
        raise RuntimeError("instrument(app) must come before the application's first request: its layers are built")
    if getattr(app, "_is_instrumented_by_opentelemetry", False) or hasattr(app.state, _INSTRUMENTED):
        raise RuntimeError(
            "the application is instrumented already: every request would be measured twice; "
            "under opentelemetry-instrument set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=fastapi,starlette,asgi"
        )
