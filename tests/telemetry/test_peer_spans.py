"""What the tests of other libraries ask of spans and of context, in every interceptor, recorded and not.

`docs/telemetry-checks.md` lists the checks, and what differs on purpose.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import websockets.sync.client
from fastapi import FastAPI, Response
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from telemetry import TelemetrySettings
from telemetry.settings import INTERCEPTORS
from telemetry.testing import Capture, capture
from tests.support import eventually, serve
from tests.support.http import http_client, http_session
from tests.telemetry.peers import COUNT, MODE_NAMES, MODES, World, world
from tests.telemetry.peers_app import yes

REMOTE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module", params=MODES, ids=MODE_NAMES)
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield the application under each interceptor, recorded and not."""
    interceptor, recorded = request.param
    with world(interceptor, recorded=recorded, directory=tmp_path_factory.mktemp("files")) as made:
        yield made


def of(app: World, method: str, path: str, **options: Any) -> list[ReadableSpan]:
    """Return the spans of one request; of one that is not recorded there are none."""
    return app.spans(lambda: app.client.request(method, path, **options), int(app.recorded))


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        pytest.param("GET", "/items/7", "GET /items/{item}", id="template"),
        pytest.param("GET", "/nowhere", "GET", id="no route"),
        pytest.param("PROPFIND", "/items/7", "HTTP /items/{item}", id="nonstandard method"),
        pytest.param("GET", "/one/two/three/cats/7", "GET /one/two/three/cats/{cat}", id="mounted three deep"),
        pytest.param("GET", "/stream", "GET /stream", id="long answer"),
        pytest.param("GET", "/items/7/", "GET /items/{item}", id="redirect"),
        pytest.param("POST", "/upload", "POST /upload", id="upload"),
    ],
)
def test_one_span(app: World, method: str, path: str, name: str) -> None:
    """No span for a message, a dependency or a serialisation."""
    spans = of(app, method, path)
    assert [(span.name, span.kind) for span in spans] == [(name, SpanKind.SERVER)] * int(app.recorded)


def test_unhandled_exception(app: World) -> None:
    """The span says so, with one event that has the exception, and the client has a plain 500."""
    answers: list[httpx.Response] = []
    spans = app.spans(lambda: answers.append(app.client.get("/crash")), int(app.recorded))
    assert answers[0].status_code == 500
    for span in spans:
        assert span.status.status_code is StatusCode.ERROR
        (event,) = span.events
        assert (event.name, (event.attributes or {})["exception.type"]) == ("exception", "RuntimeError")


def test_middleware_that_fails(app: World) -> None:
    """As an endpoint that fails."""
    for span in of(app, "GET", "/items/7", headers={"x-broken": "1"}):
        assert span.status.status_code is StatusCode.ERROR


def test_refusal_is_no_error(app: World) -> None:
    """A status of 4xx leaves the span unset; one of 5xx does not."""
    codes = {"/sold": StatusCode.UNSET, "/nowhere": StatusCode.UNSET, "/unavailable": StatusCode.ERROR}
    for path, code in codes.items():
        assert [span.status.status_code for span in of(app, "GET", path)] == [code] * int(app.recorded)


@pytest.mark.parametrize("path", ["/context/async", "/context/sync", "/context/yield", "/sold"])
def test_current_span(app: World, path: str) -> None:
    """The server's span is current in endpoints, in threads, in dependencies and in handlers of exceptions."""
    answers: list[int] = []
    spans = app.spans(lambda: answers.append(app.client.get(path).json()["span"]), int(app.recorded))
    assert answers[0] != 0
    assert [span.context.span_id for span in spans if span.context] == answers * int(app.recorded)


def test_current_span_on_the_way_out_of_a_dependency(app: World) -> None:
    """It is the same after the answer."""
    answers: list[int] = []
    app.spans(lambda: answers.append(app.client.get("/context/yield").json()["span"]), int(app.recorded))
    (span,) = answers
    eventually(lambda: app.notes.get("after yield") == span, 5, "the dependency has ended")


def test_background_task(app: World) -> None:
    """It goes on in the trace of its request."""
    app.notes.clear()
    own = 1 + (app.interceptor == "contrib")  # there the task has a span, too
    spans = app.spans(lambda: app.client.get("/background"), own * int(app.recorded))
    eventually(lambda: "task began in" in app.notes, 5, "the task has begun")
    assert app.notes["task began in"] != 0
    assert len({span.context.trace_id for span in spans if span.context}) == int(app.recorded)


def test_trace_of_a_client_is_joined(app: World) -> None:
    """By its id and with its span as parent, recorded or not by our own choice."""
    for span in of(app, "GET", "/items/7", headers={"traceparent": f"00-{REMOTE}-b7ad6b7169203331-01"}):
        assert span.parent
        assert span.context
        assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (REMOTE, "b7ad6b7169203331")


def test_no_trace_goes_on_in_the_next_request(app: World) -> None:
    """Two requests of one connection have two traces."""
    with http_session(str(app.client.base_url)) as client:
        spans = app.spans(lambda: [client.get("/items/7") for _ in range(2)], 2 * int(app.recorded))
    assert len({span.context.trace_id for span in spans if span.context}) == 2 * int(app.recorded)


@pytest.mark.parametrize("path", ["/live/7", "/one/live"])
def test_websocket(app: World, path: str) -> None:
    """One span with its route for the whole session, and nothing in the metrics of requests."""
    before = app.counted()
    url = f"{app.client.base_url}".replace("http://", "ws://").rstrip("/") + path

    def talk() -> None:
        with websockets.sync.client.connect(url) as socket:
            list(socket)

    spans = app.spans(talk, int(app.recorded))
    template = {"/live/7": "WS /live/{room}", "/one/live": "WS /one/live"}[path]
    assert [span.name for span in spans] == [template] * int(app.recorded)
    assert app.counted() == before


def test_secrets_of_a_query_are_blanked(app: World) -> None:
    """Signatures and keys of a signed URL, in whichever attribute a URL is."""
    for span in of(app, "GET", "/items/7?sig=SECRET&X-Goog-Signature=SECRET&page=2"):
        assert "SECRET" not in str(span.attributes)


def small(name: str) -> Starlette:
    """Return an application of Starlette's."""
    return Starlette(routes=[Route(f"/{name}/{{thing}}", yes)])


def fresh(interceptor: Any) -> TelemetrySettings:
    """Return settings that record everything."""
    return TelemetrySettings(service_name="peers", worker="w", sampler="parentbased_always_on", interceptor=interceptor)


def series(seen: Capture) -> dict[str, float]:
    """Return the counts by route."""
    return {dict(pairs).get("http_route", ""): v for (name, pairs), v in seen.metrics().items() if name == COUNT}


@pytest.mark.parametrize("interceptor", ["contrib", "lean"])
async def test_starlette(interceptor: Any) -> None:
    """An application without FastAPI; `native` is FastAPI's own telemetry, and refuses one."""
    with capture(fresh(interceptor)) as seen:
        seen.telemetry.install(app := small("parts"))
        async with serve(app) as url, http_client(url) as client:
            assert (await client.get("/parts/7")).text == "yes"
        assert (series(seen), [span.name for span in seen.spans()]) == ({"/parts/{thing}": 1}, ["GET /parts/{thing}"])


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_several_applications_one_mounted_in_the_other(interceptor: Any) -> None:
    """Both instrumented: one request is one, under the whole path."""
    with capture(fresh(interceptor)) as seen:
        outer, inner = FastAPI(), FastAPI()
        inner.add_api_route("/cats/{cat}", lambda cat: cat)
        for each in (inner, outer):
            seen.telemetry.install(each, metrics_path=None)
        outer.mount("/inner", inner)
        async with serve(outer) as url, http_client(url) as client:
            assert (await client.get("/inner/cats/7")).status_code == 200
        assert series(seen) == {"/inner/cats/{cat}": 1}
        assert [span.name for span in seen.spans()] == ["GET /inner/cats/{cat}"]


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_root_path_and_a_layer_outside(interceptor: Any) -> None:
    """The root that the server says is in the template, and a layer around the whole application changes nothing."""
    with capture(fresh(interceptor)) as seen:
        app = FastAPI()
        app.add_api_route("/items/{item}", lambda item: item)
        seen.telemetry.install(app)

        async def layer(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)

        async with serve(layer, root_path="/api") as url, http_client(url) as client:
            assert (await client.get("/items/7")).status_code == 200
        assert series(seen) == {"/api/items/{item}": 1}


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_route_that_is_added_later(interceptor: Any) -> None:
    """While it serves: the router names it from its first request on."""
    with capture(fresh(interceptor)) as seen:
        app = FastAPI()
        seen.telemetry.install(app)
        async with serve(app) as url, http_client(url) as client:
            assert (await client.get("/late/7")).status_code == 404
            app.add_api_route("/late/{thing}", lambda thing: thing)
            assert (await client.get("/late/7")).status_code == 200
        assert series(seen) == {"": 1, "/late/{thing}": 1}


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_headers_are_captured(interceptor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the request and of the answer; what is secret by its name is not shown."""
    server = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"
    monkeypatch.setenv(f"{server}SERVER_REQUEST", "x-tenant,x-key,authorization")
    monkeypatch.setenv(f"{server}SERVER_RESPONSE", "x-.*")
    monkeypatch.setenv(f"{server}SANITIZE_FIELDS", "x-key")
    with capture(fresh(interceptor)) as seen:
        seen.telemetry.install(app := FastAPI())

        @app.get("/items/{item}")
        def item(item: str, response: Response) -> str:
            response.headers["x-left"] = "7"
            return item

        async with serve(app) as url, http_client(url) as client:
            sent = {"x-tenant": "acme", "x-key": "SECRET", "authorization": "Bearer SECRET", "x-other": "no"}
            await client.get("/items/7", headers=sent)
        (span,) = seen.spans()
        attributes = {name: value for name, value in (span.attributes or {}).items() if ".header." in name}
        assert attributes == {
            "http.request.header.x_tenant": ("acme",),
            "http.request.header.x_key": ("[REDACTED]",),
            "http.request.header.authorization": ("[REDACTED]",),
            "http.response.header.x_left": ("7",),
        }
