"""What the tests of other libraries ask of request metrics, in every interceptor, recorded and not.

The checks are those of prometheus-fastapi-instrumentator, starlette_exporter and OpenTelemetry's own instrumentation,
in words of our own. `docs/telemetry-checks.md` lists them, and what differs on purpose.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.support import eventually
from tests.telemetry.peers import ACTIVE, MODE_NAMES, MODES, SUM, World, world
from tests.telemetry.peers_app import PART_SECONDS, TASK_SECONDS

ONE = 1.0


@pytest.fixture(scope="module", params=MODES, ids=MODE_NAMES)
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield the application under each interceptor, recorded and not."""
    interceptor, recorded = request.param
    directory = tmp_path_factory.mktemp("files")
    (directory / "a.txt").write_text("a")
    with world(interceptor, recorded=recorded, directory=directory) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        pytest.param("/items/7", "/items/{item}", 200, id="template"),
        pytest.param("/numbers/seven", "/numbers/{number}", 422, id="validation"),
        pytest.param("/status", "/status", 410, id="status from HTTPStatus"),
        pytest.param("/unavailable", "/unavailable", 503, id="HTTPException 503"),
        pytest.param("/nowhere", "", 404, id="untemplated"),
        pytest.param("/v1/x", "/v1/{thing}", 200, id="included router"),
        pytest.param("/v1/deeper/x", "/v1/deeper/{thing}", 200, id="nested router"),
        pytest.param("/v2/m/widget", "/v2/m/widget", 200, id="mount in an included router"),
        pytest.param("/one/two/three/cats/7", "/one/two/three/cats/{cat}", 200, id="mounted three deep"),
        pytest.param("/tenants/a/parts/7", "/tenants/{tenant}/parts/{part}", 200, id="mount with a parameter"),
        pytest.param("/router/inside/7", "/router/inside/{thing}", 200, id="mounted APIRouter"),
        pytest.param("/slash/leaf", "/slash/leaf", 200, id="nested mounts at the root"),
        pytest.param("/paths/a/b/c", "/paths/{path}", 200, id="path converter"),
        pytest.param("/items/7/", "/items/{item}", 307, id="redirect_slashes"),
        pytest.param("/files/a.txt", "/files/{path}", 200, id="static file"),
        pytest.param("/files/none.txt", "/files/{path}", 404, id="no static file"),
        pytest.param("/crash", "/crash", 500, id="unhandled exception"),
        pytest.param("/sold", "/sold", 409, id="handled exception"),
        pytest.param("/yield/fails", "/yield/fails", 200, id="yield dependency that fails after the answer"),
        pytest.param("/scoped", "/scoped", 200, id="custom APIRoute"),
        pytest.param("/events", "/events", 200, id="server-sent events"),
        pytest.param("/context/sync", "/context/sync", 200, id="sync endpoint"),
    ],
)
def test_get(app: World, path: str, route: str, status: int) -> None:
    """Each request is one more of its template and its status, and of nothing else."""
    assert app.get(path) == {("GET", route, str(status)): ONE}


@pytest.mark.parametrize(
    ("method", "path", "headers", "series"),
    [
        pytest.param("HEAD", "/files/a.txt", {}, ("HEAD", "/files/{path}", "200"), id="HEAD of a file"),
        pytest.param("HEAD", "/items/7", {}, ("HEAD", "/items/{item}", "405"), id="HEAD of a route"),
        pytest.param("PUT", "/items/7", {}, ("PUT", "/items/{item}", "405"), id="405"),
        pytest.param("OPTIONS", "/items/7", {}, ("OPTIONS", "/items/{item}", "405"), id="OPTIONS"),
        pytest.param(
            "OPTIONS",
            "/items/7",
            {"origin": "https://shop.example", "access-control-request-method": "GET"},
            ("OPTIONS", "/items/{item}", "200"),
            id="CORS preflight",
        ),
        pytest.param("PROPFIND", "/items/7", {}, ("_OTHER", "/items/{item}", "405"), id="nonstandard method"),
        pytest.param("GET", "/items/7", {"host": "evil.example"}, ("GET", "/items/{item}", "400"), id="TrustedHost"),
        pytest.param("GET", "/items/7", {"x-broken": "1"}, ("GET", "/items/{item}", "500"), id="middleware fails"),
        pytest.param("GET", "/by-host/7", {"host": "other.example"}, ("GET", "/by-host/{thing}", "200"), id="host"),
    ],
)
def test_others(app: World, method: str, path: str, headers: Any, series: tuple[str, str, str]) -> None:
    """Whoever answers, the template is that of the route it was sent to, and the method is a known one."""
    assert app.counts(lambda: app.client.request(method, path, headers=headers)) == {series: ONE}


def test_metrics_endpoint(app: World) -> None:
    """It answers, measures nothing of itself, and is in no schema."""
    before = app.counted()
    answer = app.client.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "/metrics" not in app.client.get("/openapi.json").json()["paths"]
    assert {key[1] for key in app.counted().keys() - before.keys()} <= {"/openapi.json"}


def test_excluded(app: World) -> None:
    """What a pattern finds leaves neither series nor span."""
    counts, spans = app.counted(), len(app.seen.spans())
    assert app.client.get("/quiet/health").status_code == 200
    assert app.get("/status") == {("GET", "/status", "410"): ONE}
    assert app.counted().keys() - counts.keys() <= {("GET", "/status", "410")}
    assert len(app.seen.spans()) - spans == int(app.recorded)


def test_rewritten_path(app: World) -> None:
    """The route is that of the path that the router saw."""
    assert app.get("/old-name") == {("GET", "/items/{item}", "200"): ONE}


def test_in_progress(app: World) -> None:
    """One inside of a request, none after it, whatever went wrong before."""
    assert app.client.get("/active").json() == 1
    eventually(lambda: app.seen.value(ACTIVE) == 0, 5, "none is active")


def seconds(app: World, route: str) -> float:
    """Return the sum of the durations of a route."""
    return sum(value for key, value in app.counted(SUM).items() if key[1] == route)


def test_background_task(app: World) -> None:
    """A task after the answer is not waited for by any client, and so it is in no duration."""
    before = seconds(app, "/background")
    app.get("/background")
    assert seconds(app, "/background") - before < TASK_SECONDS


def test_stream(app: World) -> None:
    """A duration ends with the last byte, not with the first."""
    before = seconds(app, "/stream")
    assert app.get("/stream") == {("GET", "/stream", "200"): ONE}
    assert seconds(app, "/stream") - before >= 3 * PART_SECONDS


def test_stream_that_dies(app: World) -> None:
    """Counted once, with the status that was sent, and no longer in progress."""

    def ask() -> None:
        with suppress(httpx.HTTPError):
            app.client.get("/dies")

    assert app.counts(ask) == {("GET", "/dies", "200"): ONE}
    eventually(lambda: app.seen.value(ACTIVE) == 0, 5, "none is active")


def test_client_that_leaves(app: World) -> None:
    """Counted once, and no longer in progress."""

    def ask() -> None:
        with app.client.stream("GET", "/stream") as answer:
            next(answer.iter_raw())

    assert sum(app.counts(ask).values()) == 1
    eventually(lambda: app.seen.value(ACTIVE) == 0, 5, "none is active")


def test_gzip_and_upload(app: World) -> None:
    """Middlewares that read and change bodies see them as they are."""
    answer = app.client.get("/stream", headers={"accept-encoding": "gzip"})
    assert (answer.headers["content-encoding"], len(answer.content)) == ("gzip", 1800)
    assert app.client.post("/upload", content=b"x" * 300_000).json() == 300_000


def test_lifespan_state(app: World) -> None:
    """What the host's own lifespan yields is there in its requests."""
    assert app.client.get("/state").json() == "full"


def test_concurrent(app: World) -> None:
    """None is lost and none is counted twice."""

    def ask() -> None:
        threads = [threading.Thread(target=app.client.get, args=(f"/items/{n}",)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert app.counts(ask, 20) == {("GET", "/items/{item}", "200"): 20.0}


def test_labels_are_those_of_the_conventions(app: World) -> None:
    """Method, route and status; what a client sends is no label."""
    app.client.get("/items/7?card=4242", headers={"user-agent": "nobody/1.0"})
    names = {
        name
        for (series, pairs), _ in app.seen.metrics().items()
        if series.startswith("http_server_r")
        for name, _ in pairs
    }
    assert names == {"http_request_method", "http_route", "http_response_status_code", "le", "worker"}


def test_sizes_of_bodies_are_not_measured(app: World) -> None:
    """A difference on purpose, see the table."""
    app.client.post("/upload", content=b"x")
    assert not [series for series, _ in app.seen.metrics() if "body_size" in series]
