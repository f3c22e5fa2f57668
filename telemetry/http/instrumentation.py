"""The global interceptor: spans and metrics of every request to an application, no code in any handler.

Three do it, with the same series, labels and route templates, whatever is recorded; each measures every request in one
place (docs/decisions/telemetry-interceptor.md):

- ``contrib`` is OpenTelemetry's `FastAPIInstrumentor`, which sees every request;
- ``native`` is FastAPI's own telemetry, which sees every request;
- ``lean`` measures every request itself, and has contrib make the spans of those that are recorded.

Only the one that is chosen is loaded. `install` sets FastAPI's own telemetry as is needed; `instrument` needs an
application of FastAPI's that was built with `fastapi_config`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from .parts import Parts, own_config

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

_INSTRUMENTED = "telemetry_instrumented"  # in the state of an application: who did it


def instrument(app: Starlette, parts: Parts) -> None:
    """Instrument an application, before it serves its first request; a second time does nothing.

    Raises:
        RuntimeError: it would measure nothing, or everything twice; the message is one line that says what to do.
    """
    if parts.settings.sdk_disabled or is_instrumented(app, parts):
        return
    refuse_wrong_states(app, parts)
    config = own_config(app)
    if parts.settings.interceptor == "native":
        is_ours = config is not None and config.get("tracer_provider") is parts.tracers
    else:
        is_ours = config is None or (not config.get("tracing") and not config.get("metrics"))
    if not is_ours:
        raise RuntimeError(
            "the application must be built with FastAPI(telemetry=telemetry.fastapi_config()), or given to "
            "telemetry.install(app): otherwise FastAPI's own telemetry measures every request as well"
        )
    _instrument(app, parts)


def install(app: Starlette, parts: Parts) -> None:
    """Instrument an application, however it was built; a second time does nothing.

    Raises:
        RuntimeError: as `instrument`.
    """
    if is_instrumented(app, parts):
        return
    refuse_wrong_states(app, parts)
    config = own_config(app)
    if config is not None:
        config.update(fastapi_config(parts))  # FastAPI reads it at each request
    if not parts.settings.sdk_disabled:
        _instrument(app, parts)


def is_instrumented(app: Starlette, parts: Parts) -> bool:
    """Return whether this is done already, for the same telemetry."""
    return getattr(app.state, _INSTRUMENTED, None) is parts.tracers


def fastapi_config(parts: Parts) -> "TelemetryConfig":
    """Return what to pass as ``FastAPI(telemetry=...)``: its own telemetry on for ``native``, off otherwise."""
    if parts.settings.sdk_disabled or parts.settings.interceptor != "native":
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    from . import native  # noqa: PLC0415 - only the one that is chosen is loaded

    return native.config(parts)


def refuse_wrong_states(app: Starlette, parts: Parts) -> None:
    """Refuse an application whose requests would not be measured, or would be twice.

    Raises:
        RuntimeError: as `instrument`.
    """
    if parts.settings.interceptor == "native" and own_config(app) is None:
        raise RuntimeError(
            "TELEMETRY_INTERCEPTOR=native is FastAPI's own telemetry, and this application is none of FastAPI's: "
            "set contrib or lean"
        )
    if app.middleware_stack is not None:
        raise RuntimeError("instrument(app) must come before the application's first request: its layers are built")
    if hasattr(app.state, _INSTRUMENTED):
        raise RuntimeError(
            "another Telemetry is in the application already: every request would be measured twice; leave one away"
        )
    if _by_opentelemetry(app) and not _is_automatic():
        raise RuntimeError(
            "the application is instrumented already: every request would be measured twice; "
            "leave FastAPIInstrumentor.instrument_app(app) away"
        )


def _by_opentelemetry(app: Starlette) -> bool:
    return bool(getattr(app, "_is_instrumented_by_opentelemetry", False))


def _is_automatic() -> bool:
    """Return whether `opentelemetry-instrument`, or whoever does as it does, instruments every application."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415 - FastAPI is an extra

    return bool(FastAPIInstrumentor().is_instrumented_by_opentelemetry)


def _take_over(app: Starlette) -> None:
    """Have an application that was instrumented automatically be as if it were not."""
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware  # noqa: PLC0415 - as above
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415 - as above

    contrib: object = OpenTelemetryMiddleware
    app.user_middleware[:] = [layer for layer in app.user_middleware if layer.cls is not contrib]
    FastAPIInstrumentor.uninstrument_app(app)  # type: ignore[arg-type]  # one of Starlette's will do
    app.middleware_stack = None  # it has built one


def _instrument(app: Starlette, parts: Parts) -> None:
    if _by_opentelemetry(app):
        _take_over(app)
    import_module(f".{parts.settings.interceptor}", __package__).instrument(app, parts)
    setattr(app.state, _INSTRUMENTED, parts.tracers)
