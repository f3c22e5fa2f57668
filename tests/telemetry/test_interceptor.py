"""The interceptor at work: a real uvicorn, scraped over HTTP, under both interceptors."""

import asyncio
import os
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.parser import text_string_to_metric_families

from telemetry import Telemetry, TelemetrySettings
from telemetry.settings import INTERCEPTORS
from telemetry.testing import Capture, capture
from tests.support import serve, wait_until
from tests.support.http import http_client
from tests.support.processes import run
from tests.telemetry.shop import build

DURATION = "http_server_request_duration_seconds"


@dataclass(frozen=True)
class Shop:
    """A served application, a client for it, and what its telemetry saw."""

    client: httpx.AsyncClient
    seen: Capture
    address: tuple[str, int]

    async def series(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return the series of one name, as a scrape over HTTP shows them."""
        answer = await self.client.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == name
        }

    async def raw(self, request: bytes) -> bytes:
        """Send bytes that an HTTP client would not send; return the status line."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(request)
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return line


@pytest.fixture(params=INTERCEPTORS)
def settings(request: pytest.FixtureRequest) -> TelemetrySettings:
    """Return settings for each interceptor."""
    return TelemetrySettings(
        service_name="shop", worker="api-0", sampler="parentbased_always_on", interceptor=request.param
    )


@pytest.fixture
async def shop(settings: TelemetrySettings):  # type: ignore[no-untyped-def]  # noqa: ANN201 - a generator
    """Yield the shop, served by uvicorn."""
    with capture(settings) as seen:
        async with serve(build(seen.telemetry)) as url, http_client(url) as client:
            yield Shop(client, seen, (client.base_url.host, client.base_url.port or 80))


async def test_each_request_is_measured_by_method_route_and_status(shop: Shop) -> None:
    """One series for each triple, with buckets in seconds; a crash is a 500."""
    for path in ("/items/a", "/items/b", "/items/gone", "/items/crash"):
        await shop.client.get(path)
    await shop.client.post("/items/a")
    counts = await shop.series(f"{DURATION}_count")

    def labels(method: str, status: str) -> tuple[tuple[str, str], ...]:
        return (
            ("http_request_method", method),
            ("http_response_status_code", status),
            ("http_route", "/items/{item}"),
            ("worker", "api-0"),
        )

    assert counts == {
        labels("GET", "200"): 2,
        labels("GET", "409"): 1,
        labels("GET", "500"): 1,
        labels("POST", "405"): 1,
    }
    bounds = {float(dict(series)["le"]) for series in await shop.series(f"{DURATION}_bucket")}
    assert {0.005, 0.1, 1.0, 10.0, float("inf")} <= bounds


async def test_what_a_client_invents_does_not_become_a_label(shop: Shop) -> None:
    """Neither methods, hosts nor paths of the client's making reach `/metrics`."""
    for number in range(20):
        answer = await shop.raw(f"BREW{number} /items/a HTTP/1.1\r\nHost: evil{number}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 ")
        await shop.client.get(f"/nowhere/{number}", headers={"host": f"evil{number}"})
    text = (await shop.client.get("/metrics")).text
    assert "evil" not in text
    assert "nowhere" not in text
    counts = await shop.series(f"{DURATION}_count")
    assert {dict(series).get("http_route", "") for series in counts} <= {"", "/items/{item}"}
    assert {dict(series)["http_request_method"] for series in counts} <= {"GET", "_OTHER"}
    assert sum(value for series, value in counts.items() if dict(series).get("http_route", "") == "") == 20


async def test_active_requests_are_counted_by_method_alone(shop: Shop) -> None:
    """It returns to 0 and has one label beside the worker."""
    await shop.client.get("/items/a")
    assert await shop.series("http_server_active_requests") == {
        (("http_request_method", "GET"), ("worker", "api-0")): 0
    }


async def test_no_other_http_metric_is_exported(shop: Shop) -> None:
    """Neither body sizes nor the names of the old conventions appear."""
    await shop.client.get("/items/a")
    text = (await shop.client.get("/metrics")).text
    families = {family.name for family in text_string_to_metric_families(text)}
    assert {name for name in families if name.startswith("http_")} == {
        DURATION,
        "http_server_active_requests",
    }


async def test_excluded_paths_leave_nothing_and_their_likes_do(shop: Shop) -> None:
    """`/metrics` is excluded, `/inventory/metrics` is not."""
    for path in ("/healthz", "/metrics", "/inventory/metrics"):
        await shop.client.get(path)
    routes = {dict(series).get("http_route") for series in await shop.series(f"{DURATION}_count")}
    assert routes == {"/inventory/metrics"}
    assert [span.name for span in shop.seen.spans()] == ["GET /inventory/metrics"]


async def test_one_server_span_per_request_and_a_refusal_is_no_error(shop: Shop) -> None:
    """No span for ASGI's send and receive; only the crash is an error."""
    for path in ("/items/a", "/items/gone", "/items/crash", "/nowhere"):
        await shop.client.get(path)
    await wait_until(lambda: len(shop.seen.spans()) >= 4, what="four spans have ended")
    spans = [(span.name, span.status.status_code) for span in shop.seen.spans()]
    assert sorted(spans, key=str) == sorted(
        [
            ("GET /items/{item}", StatusCode.UNSET),
            ("GET /items/{item}", StatusCode.UNSET),
            ("GET /items/{item}", StatusCode.ERROR),
            ("GET", StatusCode.UNSET),
        ],
        key=str,
    )
    assert {span.kind for span in shop.seen.spans()} == {SpanKind.SERVER}


async def test_a_websocket_session_is_one_span(settings: TelemetrySettings) -> None:
    """Twenty messages make no further spans."""
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    scope = {"type": "websocket", "path": "/live", "raw_path": b"/live", "query_string": b"", "headers": []}
    with capture(settings) as seen:
        await build(seen.telemetry)(scope, receive, send)
        assert sent == ["websocket.accept", *["websocket.send"] * 20, "websocket.close"]
        assert [span.kind for span in seen.spans()] == [SpanKind.SERVER]


async def test_concurrent_requests_each_have_their_own_trace(shop: Shop) -> None:
    """Fifty at once have fifty trace ids, each of which was recorded."""
    answers = await asyncio.gather(*(shop.client.get(f"/items/{number}") for number in range(50)))
    traces = {answer.json()["traceparent"].split("-")[1] for answer in answers}
    assert len(traces) == 50
    assert traces == {f"{span.context.trace_id:032x}" for span in shop.seen.spans()}


async def test_a_client_joins_a_trace_but_its_baggage_goes_no_further(settings: TelemetrySettings) -> None:
    """The trace id is the client's; the handler sees no baggage."""
    program = f"""
import asyncio, httpx
from opentelemetry import baggage, propagate
from fastapi import FastAPI
from telemetry import Telemetry, TelemetrySettings, current_traceparent
with Telemetry(TelemetrySettings(service_name="shop", interceptor={settings.interceptor!r})) as telemetry:
    app = FastAPI(telemetry=telemetry.fastapi_config())
    @app.get("/")
    async def root():
        return [dict(baggage.get_all()), current_traceparent()]
    telemetry.instrument(app)
    async def main():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            headers = {{"baggage": "user=" + "x" * 4000, "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}}
            print((await client.get("/", headers=headers)).text)
    asyncio.run(main())
"""
    done = await asyncio.to_thread(run, [sys.executable, "-c", program], check=True)
    assert done.stdout.startswith('[{},"00-' + "a" * 32)


def test_native_without_its_constructor_argument_is_refused() -> None:
    """FastAPI's defaults would make several spans per request, so they are not taken silently."""
    native = TelemetrySettings(service_name="shop", interceptor="native")
    with (
        Telemetry(native, set_global=False) as telemetry,
        pytest.raises(RuntimeError, match="fastapi_config"),
    ):
        telemetry.instrument(FastAPI())


def test_stable_names_whatever_came_first() -> None:
    """Neither an earlier library nor the environment brings the old conventions back."""
    program = """
from opentelemetry.instrumentation._semconv import _OpenTelemetrySemanticConventionStability as state
state._initialize()
import asyncio, httpx
from fastapi import FastAPI
from telemetry.testing import capture
with capture() as seen:
    app = FastAPI(telemetry=seen.telemetry.fastapi_config())
    seen.telemetry.instrument(app)
    async def main():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            await client.get("/openapi.json")
    asyncio.run(main())
    print(sorted({name for name, _ in seen.metrics() if name.startswith("http")}))
"""
    for opt_in in ("", "http/dup", "gen_ai_latest_experimental"):
        environ = {**os.environ, "OTEL_SEMCONV_STABILITY_OPT_IN": opt_in}
        done = run([sys.executable, "-c", program], check=True, env=environ)
        assert f"'{DURATION}_count'" in done.stdout
        assert "http_server_duration" not in done.stdout
