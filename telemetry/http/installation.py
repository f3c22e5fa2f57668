"""What `Telemetry.install` adds to an application besides its interceptor: a lifespan around its own and `/metrics`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Scrape = Callable[[Request], Awaitable[Response]]
Running = Callable[[], AbstractAsyncContextManager[None]]


def refuse_other_things(app: object) -> None:
    """Refuse what is no application, such as one that a middleware has been put around.

    Raises:
        TypeError: as above.
    """
    if not isinstance(app, Starlette):
        raise TypeError(
            f"install takes an application of FastAPI's or Starlette's, not {app!r}; call it before a middleware is "
            "put around the application"
        )


def refuse_taken_path(app: Starlette, path: str) -> None:
    """Refuse a path that the application has a route for, or that is none.

    Raises:
        TypeError: it is no string.
        ValueError: it does not begin with a slash, or has a parameter.
        RuntimeError: the application has a route of this path.
    """
    if not isinstance(path, str):
        raise TypeError(f"metrics_path takes a path, or None, not {path!r}")
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} does not begin with a slash")
    if "{" in path:
        raise ValueError(f"the path {path!r} has a parameter, and would stand before others of the application")
    if any(getattr(route, "path", None) == path for route in app.routes):
        raise RuntimeError(
            f"the application has a route {path} already: take it away, or install(app, metrics_path=...) with another"
        )


def add_metrics_route(app: Starlette, path: str, scrape: Scrape) -> None:
    """Add `/metrics`, before all other routes, so that no mount and no parameter takes it.

    It is a route of Starlette's: no dependency of the application guards it, it is not in the schema, and a function
    that names operations after their tags is not asked for it.
    """
    app.router.routes.insert(0, Route(path, scrape, methods=["GET"], include_in_schema=False))


def wrap_lifespan(app: Starlette, running: Running) -> None:
    """Have the application's own lifespan run inside of another."""
    own = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - an application, and its lifespan's state
        async with running(), own(app) as state:
            yield state

    app.router.lifespan_context = lifespan
