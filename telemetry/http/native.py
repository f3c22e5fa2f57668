"""FastAPI's own telemetry, with what it leaves out: the route of an early answer, the event of an exception.

FastAPI names no route when a middleware answers before its router is asked, none inside a mounted application of
Starlette's, and records no event for an exception.
"""

import logging
from collections.abc import Awaitable, MutableMapping
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import get_current_span
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Message, Receive, Send

from .._private import route_selected
from .parts import Bypass, Parts, change_stack
from .routes import Routes, Scope

_NATIVE = "fastapi.telemetry"
_MOUNTED = "/{path}"  # FastAPI's word for whatever is inside a mounted application that is not its own
_logger = logging.getLogger(__name__)


def instrument(app: FastAPI, parts: Parts, routes: Routes, bypass: Bypass) -> None:
    """Instrument an application, before it serves its first request.

    Raises:
        RuntimeError: the application was built without `config`.
    """
    config = app._telemetry  # noqa: SLF001 - FastAPI shows its settings nowhere else
    if config.get("tracer_provider") is not parts.tracers:
        raise RuntimeError("TELEMETRY_INTERCEPTOR=native needs FastAPI(telemetry=telemetry.fastapi_config())")
    change_stack(app, lambda stack: _change(stack, routes, bypass))


def config(parts: Parts) -> TelemetryConfig:
    """Return what to pass as ``FastAPI(telemetry=...)``."""
    excluded = frozenset(parts.settings.excluded_paths)

    def exclude(scope: MutableMapping[str, Any]) -> bool:
        return scope["path"] in excluded or parts.head_sampler.bypasses(scope)

    return {
        "tracer_provider": parts.tracers,
        "meter_provider": parts.listened_meters(),
        "tracing": True,
        "metrics": True,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": exclude,
    }


def _change(stack: ASGIApp, routes: Routes, bypass: Bypass) -> ASGIApp:
    """Change the stack that FastAPI has built.

    Args:
        stack: its outermost layer.
        routes: the application's routes.
        bypass: what does not go through the instrumentation.
    """
    if isinstance(stack, ServerErrorMiddleware):
        stack.app = _NativeGaps(stack.app, routes)
    else:
        _logger.error("FastAPI builds another stack than it did; it is used as it is")
    return bypass(stack, stack)


class _NativeGaps:
    """Fills in what FastAPI's own telemetry leaves out: the route of an early answer, the event of an exception."""

    def __init__(self, app: ASGIApp, routes: Routes) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        native = scope.get(_NATIVE)
        if native is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root_path = scope.get("root_path", "")  # a mounted application changes it

        def send_wrapper(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                self._name(scope, native, root_path)
            return send(message)

        try:
            await self._app(scope, receive, send_wrapper)
        except Exception as error:
            self._name(scope, native, root_path)
            span = get_current_span()
            if span.is_recording():
                span.record_exception(error)
            raise

    def _name(self, scope: Scope, native: Any, root_path: str) -> None:  # noqa: ANN401 - FastAPI keeps its type to itself
        if native.route is None or native.route.endswith(_MOUNTED):
            template = self._routes.full_template({**scope, "root_path": root_path})
            native._mount_prefix = ""  # noqa: SLF001 - it is in the template
            route_selected(scope=scope, path=template)
