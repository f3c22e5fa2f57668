"""One call: `Telemetry("shop").install(app)`, for applications of FastAPI's and of Starlette's, over sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount, Route

from telemetry import Telemetry, TelemetrySettings
from telemetry.settings import INTERCEPTORS
from tests.support import serve
from tests.support.http import http_client

COUNT = "http_server_request_duration_seconds_count"


class Installed:
    """A telemetry and what it saw."""

    def __init__(
        self, interceptor: Any = "contrib", sampler: str = "always_on", name: str = "shop", **choices: Any
    ) -> None:
        self._spans = InMemorySpanExporter()
        settings = TelemetrySettings(service_name=name, sampler=sampler, interceptor=interceptor)
        self.telemetry = Telemetry(
            settings, set_global=False, strict=True, span_processors=[SimpleSpanProcessor(self._spans)], **choices
        )

    def finished(self) -> Any:
        """Return the spans that have ended."""
        return self._spans.get_finished_spans()

    def spans(self) -> list[str]:
        """Return the names of the spans that have ended."""
        return sorted(span.name for span in self.finished())


@pytest.fixture(params=INTERCEPTORS)
def interceptor(request: pytest.FixtureRequest) -> str:
    """Return each interceptor."""
    return str(request.param)


@asynccontextmanager
async def client_of(app: Any, **config: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application, and give a client for it."""
    async with serve(app, **config) as base, http_client(base) as client:
        yield client


async def counts(client: httpx.AsyncClient, path: str = "/metrics") -> dict[str, float]:
    """Return how many requests each route had, as a scrape shows it."""
    text = (await client.get(path)).text
    lines = [line for line in text.splitlines() if line.startswith(COUNT)]
    return {line.partition('http_route="')[2].partition('"')[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


async def hello(_: Request) -> PlainTextResponse:
    """Answer."""
    return PlainTextResponse("hello")


async def test_an_application_that_was_built_without_a_thought(interceptor: str) -> None:
    """Each request is counted once and has one span, `/metrics` leaves none."""
    seen = Installed(interceptor)
    app = FastAPI()
    seen.telemetry.install(app)

    @app.get("/items/{item}")
    async def item(item: str) -> str:
        return item

    async with client_of(app) as client:
        await client.get("/items/lamp")
        await client.get("/items/sofa")
        assert await counts(client) == {"/items/{item}": 2}
    assert seen.spans() == ["GET /items/{item}"] * 2
    assert "/metrics" not in app.openapi()["paths"]


@pytest.mark.parametrize("interceptor", ["contrib", "lean"])
async def test_an_application_of_starlette(interceptor: str) -> None:
    """Routes, mounts and its own lifespan."""
    ran = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, str]]:
        ran.append("begin")
        yield {"name": "starlette"}
        ran.append("end")

    async def state(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.name)

    seen = Installed(interceptor)
    shelf = Mount("/shelf", routes=[Route("/{book}", hello)])
    app = Starlette(routes=[Route("/state/{x}", state), shelf], lifespan=lifespan)
    seen.telemetry.install(app)
    async with client_of(app) as client:
        assert (await client.get("/state/1")).text == "starlette"
        await client.get("/shelf/tales")
        await client.get("/nowhere")
        assert await counts(client) == {"/state/{x}": 1, "/shelf/{book}": 1, "": 1}
    assert seen.spans() == ["GET", "GET /shelf/{book}", "GET /state/{x}"]
    assert ran == ["begin", "end"]


async def test_a_lifespan_of_its_own_runs_inside(interceptor: str) -> None:
    """The telemetry runs before it begins and until it has ended, and is stopped after it."""
    seen = Installed(interceptor)
    tracer = seen.telemetry.tracer("shop")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, int]]:
        with tracer.start_as_current_span("warm up"):
            pass
        yield {"pool": 7}
        with tracer.start_as_current_span("clear up"):
            pass

    app = FastAPI(lifespan=lifespan)
    router = APIRouter(lifespan=lifespan)
    app.include_router(router)

    @app.get("/")
    async def root(request: Request) -> int:
        return int(request.state.pool)

    seen.telemetry.install(app)
    async with client_of(app) as client:
        assert (await client.get("/")).json() == 7
    assert seen.spans() == ["GET /", "clear up", "clear up", "warm up", "warm up"]
    with tracer.start_as_current_span("too late"):
        pass
    assert "too late" not in seen.spans()


async def test_startup_handlers_of_old_run(interceptor: str) -> None:
    """They are the application's lifespan, too."""
    seen, ran = Installed(interceptor), []
    app = FastAPI()
    seen.telemetry.install(app)
    app.router.on_startup.append(lambda: ran.append("begin"))
    app.router.on_shutdown.append(lambda: ran.append("end"))
    async with client_of(app):
        pass
    assert ran == ["begin", "end"]


async def test_hosts_that_read_tags_and_guard_all_their_routes(interceptor: str) -> None:
    """`/metrics` is no operation of the application: it has no tags, no id and no dependency."""

    def forbid() -> None:
        raise HTTPException(401)

    seen = Installed(interceptor)
    app = FastAPI(
        dependencies=[Depends(forbid)], generate_unique_id_function=lambda route: f"{route.tags[0]}-{route.name}"
    )
    app.add_api_route("/items", lambda: None, tags=["items"])
    seen.telemetry.install(app)
    app.add_api_route("/more", lambda: None, tags=["items"])
    async with client_of(app) as client:
        assert (await client.get("/items")).status_code == 401
        assert await counts(client) == {"/items": 1}


async def test_a_mount_or_a_parameter_that_takes_every_path(interceptor: str, tmp_path: Any) -> None:
    """`/metrics` stands before them."""
    seen = Installed(interceptor)
    app = FastAPI()
    app.add_api_route("/{anything:path}", lambda anything: anything, methods=["POST"])
    app.mount("/", StaticFiles(directory=tmp_path))
    seen.telemetry.install(app)
    async with client_of(app) as client:
        assert (await client.post("/a/b")).json() == "a/b"
        assert await counts(client) == {"/{anything}": 1}


async def test_sub_applications_are_measured_once(interceptor: str) -> None:
    """One that is mounted, and one that is mounted and has the same telemetry."""
    seen = Installed(interceptor)
    app, plain, known = FastAPI(), FastAPI(), FastAPI()
    for sub in (plain, known):
        sub.add_api_route("/things/{thing}", lambda thing: thing)
    app.mount("/plain", plain)
    app.mount("/known", known)
    seen.telemetry.install(known, metrics_path=None)
    seen.telemetry.install(app)
    async with client_of(app) as client:
        await client.get("/plain/things/1")
        await client.get("/known/things/1")
        assert await counts(client) == {"/plain/things/{thing}": 1, "/known/things/{thing}": 1}
    assert seen.spans() == ["GET /known/things/{thing}", "GET /plain/things/{thing}"]


async def test_several_applications_in_one_process(interceptor: str) -> None:
    """Two with one telemetry show the same figures, and it ends with the last; another service shows its own."""
    seen, other = Installed(interceptor), Installed(interceptor, name="another shop")
    apps = [FastAPI(), FastAPI(), FastAPI()]
    for app, telemetry in zip(apps, (seen, seen, other), strict=True):
        app.add_api_route("/x", lambda: None)
        telemetry.telemetry.install(app)
    async with client_of(apps[1]) as second, client_of(apps[2]) as third:
        async with client_of(apps[0]) as first:
            await first.get("/x")
            await second.get("/x")
            assert await counts(first) == {"/x": 2}
        await second.get("/x")
        assert await counts(second) == {"/x": 3}
        assert await counts(third) == {}
        await third.get("/x")
        assert await counts(third) == {"/x": 1}
    assert seen.spans() == ["GET /x"] * 3
    assert other.spans() == ["GET /x"]


async def test_under_a_prefix(interceptor: str) -> None:
    """A server's root path is no part of the path that is left alone."""
    seen = Installed(interceptor)
    app = FastAPI()
    app.add_api_route("/x", lambda: None)
    seen.telemetry.install(app)
    async with client_of(app, root_path="/api") as client:
        await client.get("/x")
        await counts(client)
        assert await counts(client) == {"/api/x": 1}
    assert seen.spans() == ["GET /api/x"]


async def test_metrics_elsewhere_or_nowhere(interceptor: str) -> None:
    """They leave no telemetry wherever they are."""
    seen, none = Installed(interceptor), Installed(interceptor)
    app, closed = FastAPI(), FastAPI()
    seen.telemetry.install(app, metrics_path="/internal/metrics")
    none.telemetry.install(closed, metrics_path=None)
    async with client_of(app) as client, client_of(closed) as nothing:
        await client.get("/nothing")
        assert await counts(client, "/internal/metrics") == {"": 1}
        assert await counts(client, "/internal/metrics") == {"": 1}
        assert (await nothing.get("/metrics")).status_code == 404


async def test_it_is_installed_once(interceptor: str) -> None:
    """A second time does nothing."""
    seen = Installed(interceptor)
    app = FastAPI()
    seen.telemetry.install(app)
    seen.telemetry.install(app)
    async with client_of(app) as client:
        await client.get("/openapi.json")
        assert await counts(client) == {"/openapi.json": 1}
    assert [route.path for route in app.routes if isinstance(route, Route)].count("/metrics") == 1


async def test_without_the_sdk_an_application_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED ends nothing but the telemetry."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    app = FastAPI()
    Telemetry("shop", set_global=False).install(app)
    async with client_of(app) as client:
        assert (await client.get("/openapi.json")).status_code == 200
        assert await counts(client) == {}


async def test_a_name_is_enough_and_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `TelemetrySettings.from_env` reads it."""
    monkeypatch.setenv("TELEMETRY_INTERCEPTOR", "lean")
    monkeypatch.setenv("OTEL_PYTHON_EXCLUDED_URLS", "health")
    telemetry = Telemetry("shop", set_global=False, exclude=["^/internal/"])
    assert telemetry.settings.service_name == "shop"
    assert telemetry.settings.interceptor == "lean"
    assert telemetry.settings.excluded_urls == ("health", "^/internal/")
