"""The words of the stable HTTP conventions for a request: its method as an attribute, the name of its server span."""

from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from opentelemetry.util.http import sanitize_method

Scope = MutableMapping[str, Any]

INSIDE = "telemetry.inside"
"""Marks a request that is measured: it is one, however many instrumented applications are mounted in one another."""
NATIVE = "fastapi.telemetry"
"""Where FastAPI keeps its telemetry of a request; an application that finds it there leaves its own off."""
OTHER_METHOD = "_OTHER"


def request_method(scope: Mapping[str, Any]) -> str:
    """Return the method as an attribute: a known one, or `OTHER_METHOD`."""
    return _sanitized(str(scope.get("method", "")))


@lru_cache(maxsize=64)
def _sanitized(method: str) -> str:
    return sanitize_method(method)  # it looks into the environment each time


def span_method(scope: Mapping[str, Any]) -> str:
    """Return the method as the first word of a span's name."""
    if scope["type"] == "websocket":
        return "WS"
    method = request_method(scope)
    return "HTTP" if method == OTHER_METHOD else method


def span_name(scope: Mapping[str, Any], route: str | None) -> str:
    """Return the name of a request's server span."""
    method = span_method(scope)
    return method if route is None else f"{method} {route}"
