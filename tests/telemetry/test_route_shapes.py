"""The route of every shape that an application can have, by its name in FastAPI's router, recorded or not."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from telemetry import TelemetrySettings
from telemetry.settings import INTERCEPTORS
from telemetry.testing import Capture, capture
from tests.support import serve
from tests.support.http import http_client

DURATION = "http_server_request_duration_seconds"
SHAPES = [
    ("shop", "/plain", 200, "/plain"),
    ("shop", "/items/7", 200, "/items/{item}"),
    ("shop", "/items/x", 422, "/items/{item}"),
    ("shop", "/items/7/", 307, "/items/{item}"),
    ("shop", "/v1/things/7", 200, "/v1/things/{thing}"),
    ("shop", "/v1/deep/er/7", 200, "/v1/deep/er/{thing}"),
    ("shop", "/v2/m/widget", 200, "/v2/m/widget"),
    ("shop", "/v2/m/nowhere", 404, "/v2/m/{path}"),
    ("shop", "/v2/n/gadgets/7", 200, "/v2/n/gadgets/{gadget}"),
    ("shop", "/sub/users/7", 200, "/sub/users/{user}"),
    ("shop", "/sub/nowhere", 404, "/sub/{path}"),
    ("shop", "/sub/subsub/cats/7", 200, "/sub/subsub/cats/{cat}"),
    ("shop", "/starlette/parts/7", 200, "/starlette/parts/{part}"),
    ("shop", "/starlette/inner/more/7", 200, "/starlette/inner/more/{part}"),
    ("shop", "/tenants/acme/parts/7", 200, "/tenants/{tenant}/parts/{part}"),
    ("shop", "/zipped/parts/7", 200, "/zipped/parts/{part}"),
    ("shop", "/zipped/inner/more/7", 200, "/zipped/inner/more/{part}"),
    ("shop", "/zipped/nowhere", 404, "/zipped/{path}"),
    ("shop", "/odd/7", 200, "/odd/{path}"),
    ("shop", f"/files/{Path(__file__).name}", 200, "/files/{path}"),
    ("shop", "/front/index.txt", 200, "/front/{path}"),
    ("shop", "/front/nothing.txt", 404, "/front/{path}"),
    ("other", "/plain", 200, "/plain"),
    ("other", "/by-host/7", 200, "/by-host/{thing}"),
    ("shop", "/by-host/7", 404, None),
    ("shop", "/nowhere", 404, None),
    ("shop", "/wp-login.php", 404, None),
]


async def answer(_: Request) -> Response:
    """Answer."""
    return PlainTextResponse("yes")


class Odd:
    """An application whose routes are none of Starlette's."""

    routes = ("/a", "/b")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await PlainTextResponse("yes")(scope, receive, send)


def included() -> APIRouter:
    """Return a router with a router in it."""
    router, deeper = APIRouter(prefix="/v1"), APIRouter(prefix="/deep")
    router.add_api_route("/things/{thing}", lambda thing: thing)
    deeper.add_api_route("/er/{thing}", lambda thing: thing)
    router.include_router(deeper)
    return router


def mounting() -> APIRouter:
    """Return a router that is included under a prefix, with mounted applications in it."""
    router, inner = APIRouter(), FastAPI()
    inner.add_api_route("/gadgets/{gadget}", lambda gadget: gadget)
    router.mount("/m", Starlette(routes=[Route("/widget", answer)]))
    router.mount("/n", inner)
    return router


def build(seen: Capture, front: Path) -> FastAPI:
    """Build an application of every shape; a middleware answers who asks it to."""
    app = FastAPI(telemetry=seen.telemetry.fastapi_config())
    other = FastAPI()
    other.add_api_route("/by-host/{thing}", lambda thing: thing)
    other.add_api_route("/plain", lambda: None)
    app.host("other", other)
    app.add_api_route("/plain", lambda: None)

    @app.get("/items/{item}")
    async def item(item: int) -> int:
        return item

    app.include_router(included())
    app.include_router(mounting(), prefix="/v2")
    sub, subsub = FastAPI(), FastAPI()
    subsub.add_api_route("/cats/{cat}", lambda cat: cat)
    sub.add_api_route("/users/{user}", lambda user: user)
    sub.mount("/subsub", subsub)
    app.mount("/sub", sub)
    inner = Router([Route("/more/{part}", answer)])
    app.mount("/starlette", Starlette(routes=[Route("/parts/{part}", answer), Mount("/inner", inner)]))
    parts = Starlette(routes=[Route("/parts/{part}", answer), Mount("/inner", GZipMiddleware(inner))])
    app.mount("/zipped", GZipMiddleware(GZipMiddleware(parts)))
    app.mount("/odd", Odd())
    app.mount("/tenants/{tenant}", Starlette(routes=[Route("/parts/{part}", answer)]))
    app.mount("/files", StaticFiles(directory=Path(__file__).parent))
    app.frontend("/front", directory=front)

    @app.middleware("http")
    async def gate(request: Request, go_on: Any) -> Response:
        if "x-early" in request.headers:
            return PlainTextResponse("early", 202)
        response: Response = await go_on(request)
        return response

    seen.telemetry.instrument(app)
    return app


@pytest.fixture
def front(tmp_path: Path) -> Path:
    """A frontend's files."""
    (tmp_path / "index.txt").write_text("hello")
    return tmp_path


@pytest.mark.parametrize("sampler", ["always_off", "always_on"])
@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_every_shape_has_its_template(front: Path, interceptor: Any, sampler: str) -> None:
    """In the metrics, and in the span if there is one."""
    settings = TelemetrySettings(service_name="shop", interceptor=interceptor, sampler=sampler)
    found = []
    with capture(settings) as seen:
        async with serve(build(seen, front), log_level="critical") as url, http_client(url) as client:
            before: dict[Any, float] = {}
            for host, path, _, _ in SHAPES:
                status = (await client.get(path, headers={"host": host})).status_code
                counts = {key: value for key, value in seen.metrics().items() if key[0] == f"{DURATION}_count"}
                (new,) = [dict(labels) for (_, labels), value in counts.items() if value != before.get((_, labels), 0)]
                before = counts
                found.append((host, path, status, new.get("http_route") or None))
        assert found == SHAPES
        spans = [(span.name, (span.attributes or {}).get("http.route")) for span in seen.spans()]
        wanted = [("GET" if route is None else f"GET {route}", route) for *_, route in SHAPES]
        assert spans == (wanted if sampler == "always_on" else [])


@pytest.mark.parametrize("sampler", ["always_off", "always_on"])
@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_an_answer_of_a_middleware_has_the_route_that_it_was_sent_to(
    front: Path, interceptor: Any, sampler: str
) -> None:
    """The router is not asked then; a frontend, which takes what no other route does, is not known."""
    settings = TelemetrySettings(service_name="shop", interceptor=interceptor, sampler=sampler)
    with capture(settings) as seen:
        async with serve(build(seen, front), log_level="critical") as url, http_client(url) as client:
            for host, path, *_ in SHAPES:
                assert (await client.get(path, headers={"host": host, "x-early": "yes"})).status_code == 202
        routes = {
            dict(labels).get("http_route") or None: value
            for (name, labels), value in seen.metrics().items()
            if name == f"{DURATION}_count"
        }
    wanted = [None if route == "/front/{path}" else route for *_, route in SHAPES]
    assert routes == {route: wanted.count(route) for route in wanted}
