"""Which route template answers a request: the same word for both interceptors, before and after routing.

A template is low in cardinality: ``/orders/{order_id}``, or ``/static/{path}`` for what is inside a mounted application
that has no routes of its own. A path that no route knows has none.
"""

import time
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from opentelemetry.util.http import sanitize_method
from starlette.routing import Host, Match

from .._private import get_route_path
from ..metrics.specs import MAX_SERIES

Scope = MutableMapping[str, Any]

OTHER_METHOD = "_OTHER"
LOOK_AGAIN_SECONDS = 1.0


class Routes:
    """The routes of one application, in the order in which its router tries them."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._known: list[RouteContext] = []
        self._under: dict[str, list[RouteContext]] = {}
        self._plain: dict[tuple[str | None, ...], str] = {}
        self._next_look = 0.0

    def template(self, scope: Scope) -> str | None:
        """Return the template of the route that takes this request, or that knows its path with other methods.

        A route that is added while the application serves is known within `LOOK_AGAIN_SECONDS` of its first request.
        """
        key = (scope["type"], scope.get("method"), scope["path"], scope.get("root_path"))
        if key in self._plain:
            return self._plain[key]
        found, takes_it = _find(self._candidates(scope), scope)
        if not takes_it and time.monotonic() >= self._next_look:
            self._look_again()
            found, takes_it = _find(self._candidates(scope), scope)
        plain = takes_it and found == scope["path"] and not self._by_host()
        if plain and found is not None and len(self._plain) < MAX_SERIES:
            self._plain[key] = found  # as many as there are routes without parameters; but a mount takes every method
        if found is None and self._app.router.redirect_slashes and scope["type"] == "http":
            return self._slashed(scope)
        return found

    def full_template(self, scope: Scope) -> str | None:
        """Return the same, with the prefix under which the application is served."""
        template = self.template(scope)
        prefix = scope.get("root_path")
        return f"{prefix.rstrip('/')}{template}" if prefix and template is not None else template

    def span_details(self, scope: Scope) -> tuple[str, dict[str, str]]:
        """Return the name of a request's server span, and the attributes that its metrics need as well."""
        template = self.full_template(scope)
        return span_name(scope, template), {} if template is None else {"http.route": template}

    def _look_again(self) -> None:
        self._known = list(iter_route_contexts(self._app.routes))  # costs 1 us a route: not for each request
        self._next_look = time.monotonic() + LOOK_AGAIN_SECONDS
        self._plain = {}
        begun = [_first_segment(route) for route in self._known]
        self._under = {
            segment: [route for route, own in zip(self._known, begun, strict=True) if own in (segment, None)]
            for segment in {own for own in begun if own is not None}
        }

    def _candidates(self, scope: Scope) -> list[RouteContext]:
        """Return the routes that may take a path, for trying all costs a microsecond each."""
        return self._under.get(get_route_path(scope)[1:].partition("/")[0], self._known)

    def _by_host(self) -> bool:
        return any(isinstance(route.original_route, Host) for route in self._known)

    def _slashed(self, scope: Scope) -> str | None:
        """Return the route that a redirect leads to, which adds or takes away the slash at the end."""
        path: str = scope["path"]
        other = path.rstrip("/") if path.endswith("/") else f"{path}/"
        return _find(self._known, {**scope, "path": other})[0] if path != "/" else None


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


def _first_segment(route: RouteContext) -> str | None:
    """Return what every path of a route begins with, up to the second slash; None when paths differ in it."""
    template = route.path_format
    if isinstance(route.original_route, Host) or not template or not template.startswith("/"):
        return None
    segment = template[1:].partition("/")[0]
    return None if "{" in segment else segment


def _find(routes: Iterable[RouteContext], scope: Scope) -> tuple[str | None, bool]:
    """Return a template, and whether its route takes the request; the first that knows the path counts."""
    partial: str | None = None
    for route in routes:
        match, child = route.matches(scope)
        if match is Match.FULL:
            return _full_template(route, {**scope, **child}), True
        if match is Match.PARTIAL and partial is None:
            partial = route.path_format
    return partial, False


def _full_template(route: RouteContext, scope: Scope) -> str | None:
    """Return the template of a route, with that of the mounted application's own route inside it."""
    inner: Sequence[Any] = getattr(route.original_route, "routes", ())
    prefix: str | None = getattr(route.original_route, "path", None)
    if inner and prefix is not None:
        found, _ = _find(iter_route_contexts(inner), scope)
        if found is not None:
            return f"{prefix}{found}"
    return route.path_format
