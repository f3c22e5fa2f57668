"""Which route template answers a request: the same word for every interceptor, whatever answers it.

FastAPI's own router says it, for whoever puts FastAPI's telemetry of a request into the scope: `RequestRoute` does. It
knows frontends, hosts, mounts inside included routers and redirects, and names what it takes. `Routes` is asked for the
rest: an answer of a middleware before the router, and the routes inside a mounted application of Starlette's.

A template is low in cardinality: ``/orders/{order_id}``, or ``/static/{path}`` for what is inside a mounted application
that has no routes of its own. A path that no route knows has none.
"""

import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Host, Match

from .._private import get_route_path
from ..metrics.specs import MAX_SERIES
from .semantics import NATIVE, Scope, span_method

if TYPE_CHECKING or find_spec("fastapi"):
    from fastapi.routing import RouteContext, iter_route_contexts

    from .._private import RequestTelemetry
else:
    from .plain import RequestTelemetry, RouteContext, iter_route_contexts

_MOUNTED = "/{path}"  # FastAPI's word for whatever is inside an application that it does not know
_MAX_LAYERS = 10
LOOK_AGAIN_SECONDS = 1.0


class Routes:
    """The routes of one application, in the order in which its router tries them."""

    def __init__(self, app: Starlette) -> None:
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

    def known(self, scope: Scope) -> str | None:
        """Return the template of a path without parameters that was asked for before, with its prefix; else None."""
        found = self._plain.get((scope["type"], scope.get("method"), scope["path"], scope.get("root_path")))
        prefix = scope.get("root_path")
        return f"{prefix.rstrip('/')}{found}" if prefix and found is not None else found

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
    inner = _routes_inside(route.original_route)
    template: str | None = route.path_format
    if inner:
        found, _ = _find(iter_route_contexts(inner), scope)
        if found is not None:
            return f"{(template or '').removesuffix(_MOUNTED)}{found}"
    return template


def _routes_inside(mounted: Any) -> Sequence[BaseRoute]:  # noqa: ANN401 - whatever a host has mounted
    """Return the routes of what is mounted, also where middleware was put around it, which calls it `app`."""
    for _ in range(_MAX_LAYERS):
        inner = getattr(mounted, "routes", None)
        if isinstance(inner, list | tuple) and inner:
            return inner if all(isinstance(route, BaseRoute) for route in inner) else ()
        mounted = getattr(mounted, "app", None)
    return ()


class RequestRoute:
    """The route of one request, as FastAPI's router names it.

    Args:
        routes: the application's routes.
        scope: the request, before anybody has changed it.
        telemetry: FastAPI's own, where it has one; otherwise the router is given one without a span.
    """

    __slots__ = ("_root_path", "_routes", "_telemetry")

    def __init__(self, routes: Routes, scope: Scope, telemetry: RequestTelemetry | None = None) -> None:
        self._routes = routes
        self._root_path: str = scope.get("root_path", "")  # a mounted application changes it
        if telemetry is None:
            prefix = self._root_path.rstrip("/")
            telemetry = RequestTelemetry(span=None, span_method=span_method(scope), data=None, _mount_prefix=prefix)
            scope[NATIVE] = telemetry
        self._telemetry = telemetry

    def name_span(self, span: Span) -> None:
        """Have the router name this span, and give it ``http.route``."""
        self._telemetry.span = span

    def template(self, scope: Scope) -> str | None:
        """Return the template, once the request is answered; the span gets it as well."""
        telemetry = self._telemetry
        named = telemetry.route
        if named is not None and not named.endswith(_MOUNTED):
            return named
        if scope.get("root_path", "") != self._root_path:
            scope = {**scope, "root_path": self._root_path}
        found = self._routes.full_template(scope)
        if found is None or found == named:
            return named
        telemetry.route = found
        if telemetry.span is not None:
            telemetry.span.set_attribute("http.route", found)
            telemetry.span.update_name(f"{telemetry.span_method} {found}")
        return found


def route_of(scope: Scope, routes: Routes) -> RequestRoute | str:
    """Return the route of a request: its template if that is known beforehand, otherwise what the router will tell."""
    known = routes.known(scope)
    if known is None:
        return RequestRoute(routes, scope)
    scope[NATIVE] = None
    return known
