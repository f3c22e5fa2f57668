"""What stands in for FastAPI's router where FastAPI is not installed: Starlette's routes, and nobody who names them."""

from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace import Span
from starlette.routing import BaseRoute, Match


@dataclass(slots=True)
class RequestTelemetry:
    """The route of a request, as FastAPI's has it; nothing but `telemetry.http.routes` sets it."""

    span: Span | None
    span_method: str
    data: object
    _mount_prefix: str
    route: str | None = None


@dataclass(frozen=True, slots=True)
class RouteContext:
    """A route."""

    original_route: BaseRoute

    @property
    def path_format(self) -> str | None:
        """Its template; None for a host."""
        return getattr(self.original_route, "path_format", None)

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        """Whether it takes a request, and what it adds to the scope."""
        return self.original_route.matches(scope)


def iter_route_contexts(routes: Iterable[BaseRoute]) -> Iterator[RouteContext]:
    """Yield the routes."""
    return map(RouteContext, routes)
