"""A request that was not recorded and then failed, or was slow, still leaves its server span."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from telemetry import TelemetrySettings, current_traceparent
from telemetry.http.late_spans import MARK, RateLimit
from telemetry.settings import INTERCEPTORS
from telemetry.testing import Capture, capture
from tests.support import serve, wait_until
from tests.support.http import http_client

SLOW_SECONDS = 0.2


@dataclass(frozen=True)
class Shop:
    """A served application that records nothing, and a client for it."""

    client: httpx.AsyncClient
    seen: Capture

    async def span(self) -> ReadableSpan:
        """Return the only span there is."""
        await wait_until(self.seen.spans, what="a span was written")
        (span,) = self.seen.spans()
        return span


def build(seen: Capture) -> FastAPI:
    """Build the application; each answer has the trace context of its request."""
    app = FastAPI(telemetry=seen.telemetry.fastapi_config())

    @app.get("/task/{kind}")
    async def work(kind: str, response: Response) -> None:
        response.headers["x-traceparent"] = current_traceparent()
        if kind == "defect":
            raise RuntimeError("a bug")
        if kind == "translated":
            raise KeyError("a bug that is answered with 418")
        if kind.isdecimal():
            raise HTTPException(int(kind), headers={"x-traceparent": current_traceparent()})
        if kind == "slow":
            await asyncio.sleep(SLOW_SECONDS)

    @app.get("/metrics")
    async def excluded() -> None:
        raise RuntimeError("a bug where nobody looks")

    @app.exception_handler(Exception)
    async def answer(_: Request, error: Exception) -> JSONResponse:
        status = 418 if isinstance(error, KeyError) else 500
        return JSONResponse({}, status, headers={"x-traceparent": current_traceparent()})

    seen.telemetry.instrument(app)
    return app


@pytest.fixture(params=INTERCEPTORS)
def settings(request: pytest.FixtureRequest) -> TelemetrySettings:
    """Return settings under which the budget records no trace."""
    return TelemetrySettings(
        service_name="shop", interceptor=request.param, traces_per_second=0, slow_seconds=SLOW_SECONDS
    )


@pytest.fixture
async def shop(settings: TelemetrySettings) -> AsyncIterator[Shop]:
    """Yield the shop, served by uvicorn."""
    with capture(settings) as seen:
        async with (
            serve(build(seen), log_level="critical") as url,
            http_client(url) as client,
        ):
            yield Shop(client, seen)


async def test_a_good_fast_request_leaves_none(shop: Shop) -> None:
    """Nor does a refusal, an unknown path, or a path that is excluded."""
    for path in ("/task/quick", "/task/409", "/task/404", "/nowhere", "/metrics"):
        await shop.client.get(path)
    await shop.client.post("/task/quick")
    assert shop.seen.spans() == []
    assert shop.seen.value("telemetry_afterwards_total") == 0


async def test_an_excluded_path_does_not_write_the_span_of_its_caller(settings: TelemetrySettings) -> None:
    """A service that calls itself in process: the span around the call is not this request's."""
    with capture(settings) as seen, seen.telemetry.tracer("test").start_as_current_span("caller"):
        transport = httpx.ASGITransport(build(seen), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            assert (await client.get("/metrics")).status_code == 500
        assert seen.spans() == []


async def test_a_crash_leaves_the_span_that_its_trace_id_names(shop: Shop) -> None:
    """The ids are those that the request had; name, times, attributes and exception are those of a server span."""
    before = time.time_ns()
    answer = await shop.client.get("/task/defect?token=secret")
    span = await shop.span()
    trace_id, span_id = answer.headers["x-traceparent"].split("-")[1:3]
    assert (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") == (trace_id, span_id)
    assert (span.name, span.kind, span.parent) == ("GET /task/{kind}", SpanKind.SERVER, None)
    assert span.context.trace_flags.sampled
    assert before <= span.start_time < span.end_time <= time.time_ns()  # type: ignore[operator]
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/task/{kind}",
        "http.response.status_code": 500,
        "error.type": "RuntimeError",
        "url.scheme": "http",
        "url.path": "/task/defect",
        "network.protocol.version": "1.1",
        MARK: True,
    }
    assert span.status.status_code is StatusCode.ERROR
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "a bug"
    assert "in work" in str(event.attributes["exception.stacktrace"])
    assert span.resource.attributes["service.name"] == "shop"
    assert shop.seen.value("telemetry_afterwards_total", result="written") == 1


async def test_an_answer_of_5xx_leaves_one_without_an_exception(shop: Shop) -> None:
    """`error.type` is the status."""
    await shop.client.get("/task/503")
    span = await shop.span()
    attributes = span.attributes or {}
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (503, "503")
    assert (span.status.status_code, span.events) == (StatusCode.ERROR, ())


async def test_the_status_is_the_one_that_was_sent(shop: Shop) -> None:
    """A handler may answer an exception with something else than 500."""
    answer = await shop.client.get("/task/translated")
    assert answer.status_code == 418
    span = await shop.span()
    assert (span.attributes or {})["http.response.status_code"] == 418
    assert [event.name for event in span.events] == ["exception"]


async def test_a_slow_request_leaves_one_that_is_no_error(shop: Shop) -> None:
    """Its length is the request's."""
    await shop.client.get("/task/slow")
    span = await shop.span()
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in (span.attributes or {})
    assert SLOW_SECONDS <= (span.end_time - span.start_time) / 1e9 < 5  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["503", "slow"])
async def test_it_has_the_headers_that_are_captured(
    settings: TelemetrySettings, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that a recorded request's span has, and what is hidden there is hidden here."""
    names = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS"
    monkeypatch.setenv(f"{names}_SERVER_REQUEST", "x-ref.*,x-code,authorization")
    monkeypatch.setenv(f"{names}_SERVER_RESPONSE", "x-trace.*,content-type")
    monkeypatch.setenv(f"{names}_SANITIZE_FIELDS", "x-code")
    headers = {"x-referrer": "newsletter", "x-code": "abc", "authorization": "Bearer x", "x-other": "no"}
    captured = []
    for chosen in (settings, replace(settings, sampler="always_on")):
        with capture(chosen) as seen:
            async with serve(build(seen)) as base, http_client(base) as client:
                answer = await client.get(f"/task/{kind}", headers=headers)
            [span] = seen.spans()
        found = {key: value for key, value in (span.attributes or {}).items() if ".header." in key}
        assert found.pop("http.response.header.x_traceparent") == (answer.headers["x-traceparent"],)
        assert (MARK in (span.attributes or {})) is (chosen is settings)
        captured.append(found)
    assert (
        captured[0]
        == captured[1]
        == {
            "http.request.header.x_referrer": ("newsletter",),
            "http.request.header.x_code": ("[REDACTED]",),
            "http.request.header.authorization": ("[REDACTED]",),
            "http.response.header.content_type": ("application/json",),
        }
    )


async def test_it_continues_the_trace_of_the_client(shop: Shop) -> None:
    """The client's span is its parent, although its sampled flag is not obeyed."""
    await shop.client.get("/task/500", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    span = await shop.span()
    assert f"{span.context.trace_id:x}" == "a" * 32
    assert span.parent is not None
    assert f"{span.parent.span_id:x}" == "b" * 16


async def test_a_recorded_request_leaves_one_span(settings: TelemetrySettings) -> None:
    """What the interceptor recorded is not written a second time."""
    with capture(replace(settings, traces_per_second=100)) as seen:
        async with serve(build(seen), log_level="critical") as url, http_client(url) as client:
            await client.get("/task/defect")
            await client.get("/task/slow")
        assert len(seen.spans()) == 2
        assert all(MARK not in (span.attributes or {}) for span in seen.spans())


@pytest.mark.parametrize("sampler", ["parentbased_always_off", "always_off"])
async def test_a_sampler_of_the_specification_is_obeyed(settings: TelemetrySettings, sampler: str) -> None:
    """Writing afterwards belongs to the budget; `OTEL_TRACES_SAMPLER` means what it says."""
    with capture(replace(settings, sampler=sampler)) as seen:
        async with serve(build(seen), log_level="critical") as url, http_client(url) as client:
            await client.get("/task/defect")
        assert seen.spans() == []


async def test_an_outage_does_not_become_a_flood(settings: TelemetrySettings) -> None:
    """Forty failures and a limit of five a second: what is left out is counted."""
    with capture(replace(settings, afterwards_per_second=5)) as seen:
        async with serve(build(seen), log_level="critical") as url, http_client(url) as client:
            begun = time.monotonic()
            for _ in range(40):
                await client.get("/task/503")
            seconds = int(time.monotonic() - begun) + 1
        written = seen.value("telemetry_afterwards_total", result="written")
        assert written == len(seen.spans())
        assert 5 <= written <= 5 * (seconds + 1)
        assert seen.value("telemetry_afterwards_total") == 40


def test_the_limit_counts_each_second_anew() -> None:
    """Three a second, whatever came before."""
    ticks = itertools.count()
    now = 0.0
    limit = RateLimit(3, clock=lambda: now)
    for _ in range(4):
        assert [limit.admit() for _ in range(5)] == [True, True, True, False, False]
        now = float(next(ticks) + 1)
    assert not RateLimit(0).admit()
