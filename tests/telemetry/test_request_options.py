"""What a service chooses for its requests in code: patterns, buckets, labels and hooks, under every interceptor."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from opentelemetry import trace
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from telemetry import RequestLabel, Telemetry, TelemetrySettings, from_header
from tests.support import serve
from tests.support.http import http_client
from tests.telemetry.test_install import COUNT, Installed, client_of, counts, interceptor

__all__ = ["interceptor"]  # a fixture


async def test_patterns_are_found_in_the_path_or_the_url(interceptor: str) -> None:
    """Whoever moves here brings patterns of both kinds."""
    seen = Installed(interceptor, exclude=["^/health$", "/admin/.*", r"^http://127\.0\.0\.1:\d+/url$"])
    app = FastAPI()
    for path in ("/health", "/healthy", "/admin/users", "/url"):
        app.add_api_route(path, lambda: None)
    seen.telemetry.install(app)
    async with client_of(app) as client:
        for path in ("/health", "/healthy", "/admin/users", "/url"):
            assert (await client.get(path)).status_code == 200
        assert await counts(client) == {"/healthy": 1}
    assert seen.spans() == ["GET /healthy"]


def test_one_pattern_is_no_list() -> None:
    """Its letters would be patterns, and nearly every request would be left out."""
    with pytest.raises(TypeError, match="several"):
        Telemetry(TelemetrySettings(service_name="shop"), set_global=False, exclude="health")


async def test_buckets(interceptor: str) -> None:
    """They are those of the duration, and of nothing else."""
    seen = Installed(interceptor, buckets=(0.25, 60))
    app = FastAPI()
    seen.telemetry.install(app)
    async with client_of(app) as client:
        await client.get("/openapi.json")
        text = (await client.get("/metrics")).text
    bounds = [line for line in text.splitlines() if line.startswith("http_server_request_duration_seconds_bucket")]
    assert [line.partition('le="')[2].partition('"')[0] for line in bounds] == ["0.25", "60.0", "+Inf"]


@pytest.mark.parametrize("buckets", [(), (1, 1), (2, 1), (0, 1), (1, float("inf")), (1, float("nan"))])
def test_buckets_that_are_none(buckets: Any) -> None:
    """They are refused when the telemetry is made."""
    with pytest.raises(ValueError, match="buckets"):
        Installed(buckets=buckets)


async def test_labels_of_an_answer_that_breaks_off(interceptor: str) -> None:
    """They are those of any other request, and it is counted once, in what is active too."""
    seen = Installed(interceptor, labels={"client": RequestLabel(("ios",), from_header("X-Client"))})
    app = FastAPI()
    seen.telemetry.install(app)

    async def parts() -> AsyncIterator[bytes]:
        yield b"some"
        raise ValueError("the rest is not there")

    app.add_api_route("/", lambda: StreamingResponse(parts()))
    app.add_api_route("/whole", lambda: None)
    async with serve(app) as url, http_client(url, headers={"x-client": "ios"}) as client:
        for path in ("/", "/whole", "/"):
            with suppress(httpx.RemoteProtocolError):
                await client.get(path)
        text = (await client.get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {
        (sample.labels["client"], sample.labels["http_route"]): sample.value
        for sample in samples
        if sample.name == COUNT
    }
    assert found == {("ios", "/"): 2, ("ios", "/whole"): 1}
    assert [sample.value for sample in samples if sample.name == "http_server_active_requests"] == [0]


async def test_labels_have_closed_sets_of_values(interceptor: str) -> None:
    """From a header or from what a handler says; whatever else there is counts as `_OTHER`."""
    labels = {"client.kind": RequestLabel(("ios", "web"), from_header("X-Client")), "tier": ("free", "paid")}
    seen = Installed(interceptor, labels=labels)
    app = FastAPI()
    seen.telemetry.install(app)

    @app.get("/")
    async def root(request: Request, tier: str = "") -> None:
        if tier:
            request.state.tier = tier

    async with client_of(app) as client:
        await client.get("/?tier=paid", headers={"x-client": "ios"})
        await client.get("/?tier=paid", headers={"x-client": "ios"})
        await client.get("/?tier=king", headers={"x-client": "made up"})
        await client.get("/")
        text = (await client.get("/metrics")).text
    found = {
        (sample.labels["client_kind"], sample.labels["tier"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == COUNT
    }
    assert found == {("ios", "paid"): 2, ("_OTHER", "_OTHER"): 2}


async def test_a_label_that_fails_harms_nobody(interceptor: str, caplog: pytest.LogCaptureFixture) -> None:
    """It counts as `_OTHER`, and is logged."""

    def fail(_: Any) -> str:
        raise LookupError("no tenant")

    seen = Installed(interceptor, labels={"tenant": RequestLabel(("a",), fail)})
    app = FastAPI()
    seen.telemetry.install(app)
    async with client_of(app) as client:
        assert (await client.get("/openapi.json")).status_code == 200
        assert 'tenant="_OTHER"' in (await client.get("/metrics")).text
    assert "a label of requests could not be read" in caplog.text


@pytest.mark.parametrize(
    "labels",
    [
        {"http.route": ("a",)},
        {"worker": ("a",)},
        {"le": ("a",)},
        {"": ("a",)},
        {"a b": ("a",)},
        {"tier": ()},
        {"tier": "free"},
        {"a.b": ("x",), "a_b": ("x",)},
        {"tier": (1, 2)},
        {"tier": from_header("x-tier")},
        {"tier": RequestLabel(from_header("x-tier"), ("free", "paid"))},  # type: ignore[arg-type]
    ],
)
def test_labels_that_are_none(labels: Any) -> None:
    """They are refused when the telemetry is made."""
    with pytest.raises(ValueError, match="label"):
        Installed(labels=labels)


def test_a_label_that_is_read_by_no_function() -> None:
    """The name of a header alone is none."""
    read: Any = "x-tier"
    with pytest.raises(TypeError, match="the label 'tier' of requests is read by a function, not by 'x-tier'"):
        Installed(labels={"tier": RequestLabel(("free", "paid"), read)})


def test_an_option_that_is_none() -> None:
    """A word that is misspelt is not taken in silence."""
    with pytest.raises(TypeError, match="lables"):
        Installed(lables={})


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
async def test_hooks_are_told_of_every_request(interceptor: str, sampler: str) -> None:
    """Recorded or not, with the server span current; those that leave no telemetry are not told of."""
    told: list[str] = []

    def on_request(span: trace.Span, scope: Any) -> None:
        assert span is trace.get_current_span()
        told.append(f"request {scope['path']} {span.is_recording()}")
        span.set_attribute("shop.hooked", "yes")

    seen = Installed(
        interceptor,
        sampler=sampler,
        server_request_hook=on_request,
        client_request_hook=lambda _, __, message: told.append(message["type"]),
        client_response_hook=lambda _, __, message: told.append(message["type"]),
    )
    app = FastAPI()
    sub = FastAPI()
    sub.add_api_route("/x", lambda: None)
    app.mount("/sub", sub)
    seen.telemetry.install(sub, metrics_path=None)

    @app.post("/")
    async def root(request: Request) -> int:
        return len(await request.body())

    seen.telemetry.install(app)
    recorded = sampler == "always_on"
    async with client_of(app) as client:
        assert (await client.post("/", content=b"abc")).json() == 3
        assert told == [f"request / {recorded}", "http.request", "http.response.start", "http.response.body"]
        told.clear()
        await client.get("/metrics")
        assert told == []
        await client.get("/sub/x")
        assert [what for what in told if what.startswith("request")] == [f"request /sub/x {recorded}"]
    assert [span.attributes["shop.hooked"] for span in seen.finished()] == ["yes"] * (2 * recorded)


async def test_hooks_are_told_of_websockets(interceptor: str) -> None:
    """Of the connection, and of each message."""
    told: list[str] = []
    seen = Installed(
        interceptor,
        server_request_hook=lambda span, _: told.append(str(span.is_recording())),
        client_request_hook=lambda _, __, message: told.append(message["type"]),
    )
    app = FastAPI()

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())

    seen.telemetry.install(app)
    async with serve(app) as base, connect(base.replace("http", "ws") + "/live") as socket:
        await socket.send("x")
        assert await socket.recv() == "x"
    assert told[:3] == ["True", "websocket.connect", "websocket.receive"]


async def test_a_hook_that_fails_harms_nobody(interceptor: str, caplog: pytest.LogCaptureFixture) -> None:
    """The request goes on; the log says what failed, however often it does: a traceback for each, no more."""

    def fail(*_: Any) -> None:
        raise LookupError("no tenant")

    seen = Installed(interceptor, server_request_hook=fail, client_request_hook=fail, client_response_hook=fail)
    app = FastAPI()
    seen.telemetry.install(app)
    async with client_of(app) as client:
        assert (await client.get("/openapi.json")).status_code == 200
        assert await counts(client) == {"/openapi.json": 1}
        for _ in range(20):
            await client.get("/openapi.json")
    told = [record for record in caplog.records if record.getMessage() == "a hook of the telemetry failed"]
    assert len(told) == 1
    assert "LookupError: no tenant" in caplog.text
