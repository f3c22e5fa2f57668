"""Whatever is recorded, figures and answers are the same; under `lean` what is not passes the instrumentation by."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.context import Context
from opentelemetry.trace import get_current_span
from starlette.types import Message

from telemetry import TelemetrySettings, current_traceparent
from telemetry.settings import INTERCEPTORS
from telemetry.testing import capture
from tests.support import serve
from tests.support.http import http_client
from tests.telemetry.test_interceptor_parity import DURATION, Seen, observe

CLIENT = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture(scope="module", params=INTERCEPTORS)
def pair(request: pytest.FixtureRequest) -> tuple[Seen, Seen]:
    """Return what an instrumentation saw, and what was seen of the same requests where none is recorded."""
    return asyncio.run(observe(request.param)), asyncio.run(observe(request.param, "always_off"))


@pytest.mark.parametrize("aspect", ["answers", "series", "counts", "started"])
def test_nobody_can_tell(pair: tuple[Seen, Seen], aspect: str) -> None:
    """Answers, series, counts, and how many spans the SDK was asked for."""
    instrumented, bypassed = pair
    assert bypassed[aspect] == instrumented[aspect]
    assert bypassed["spans"] == []


@pytest.fixture(params=INTERCEPTORS)
def settings(request: pytest.FixtureRequest) -> TelemetrySettings:
    """Return settings for each interceptor, under which nothing is recorded."""
    return TelemetrySettings(
        service_name="shop", worker="api-0", traces_per_second=0, slow_seconds=60, interceptor=request.param
    )


def build(telemetry: Any) -> FastAPI:
    """Build an application that tells its trace."""
    app = FastAPI(telemetry=telemetry.fastapi_config())

    @app.get("/trace")
    async def trace() -> str:
        assert not get_current_span().is_recording()
        return current_traceparent()

    @app.get("/other")
    async def other() -> list[str]:
        begun = telemetry.tracer("test").start_span("another trace", Context())
        begun.end()
        return [f"{span.get_span_context().trace_id:032x}" for span in (get_current_span(), begun)]

    telemetry.instrument(app)
    return app


async def test_it_has_a_trace_of_its_own_or_the_clients(settings: TelemetrySettings) -> None:
    """Its ids are random, those of a client's trace are kept, and the sampled flag is not passed on."""
    with capture(settings) as seen:
        async with serve(build(seen.telemetry)) as url, http_client(url) as client:
            own = [(await client.get("/trace")).json() for _ in range(50)]
            joined = [(await client.get("/trace", headers={"traceparent": CLIENT})).json() for _ in range(2)]
    assert len({each.split("-")[1] for each in own}) == 50
    assert {each.split("-")[3] for each in own} == {"02"}  # random, not sampled
    assert {each.split("-")[1] for each in joined} == {"a" * 32}
    assert len({each.split("-")[2] for each in joined} | {"b" * 16}) == 3
    assert {int(each.split("-")[3], 16) & 1 for each in joined} == {0}


@pytest.mark.parametrize("per_second", [0, 1_000_000])
async def test_a_request_is_decided_on_once(settings: TelemetrySettings, per_second: int) -> None:
    """The budget counts each trace once, and a recorded span has the trace id on which it was decided."""
    asked: list[int] = []
    with capture(replace(settings, traces_per_second=per_second)) as seen:
        spans = seen.telemetry._spans
        head, tracers = spans.head_sampler, spans.tracers
        inside = head._sampler

        class Noting(type(inside)):  # type: ignore[misc] # whatever the sampler is
            def __init__(self) -> None:
                pass

            def should_sample(self, context: Any, trace_id: int, *rest: Any) -> Any:
                asked.append(trace_id)
                return inside.should_sample(context, trace_id, *rest)

            def sample_root(self, trace_id: int) -> Any:
                asked.append(trace_id)
                return inside.sample_root(trace_id)

        head._sampler = Noting()
        if settings.interceptor == "lean":
            tracers.sampler._inside = head._sampler  # type: ignore[attr-defined]
        else:
            tracers.sampler = head._sampler  # type: ignore[attr-defined]
        async with serve(build(seen.telemetry)) as url, http_client(url) as client:
            told = [(await client.get("/trace")).status_code for _ in range(20)]
        assert told == ([200] * 20 if per_second == 0 else [500] * 20)  # the handler wants no recording
        assert len(asked) == 20
        if per_second:
            assert [span.context.trace_id for span in seen.spans()] == asked
            assert all((span.attributes or {})["url.path"] == "/trace" for span in seen.spans())


@pytest.mark.parametrize("per_second", [0, 1_000_000])
async def test_the_decision_is_about_one_span(settings: TelemetrySettings, per_second: int) -> None:
    """A trace that a handler begins has an id of its own."""
    with capture(replace(settings, traces_per_second=per_second)) as seen:
        async with serve(build(seen.telemetry)) as url, http_client(url) as client:
            request, other = (await client.get("/other")).json()
        assert request != other
        assert len(seen.spans()) == (2 if per_second else 0)


async def test_it_is_counted_before_the_client_has_the_answer(settings: TelemetrySettings) -> None:
    """Who has the last byte finds the request in `/metrics`, and no longer under way."""
    with capture(settings) as seen:
        app = build(seen.telemetry)
        told: list[tuple[str, float | None, float | None]] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            counts = seen.value(f"{DURATION}_count"), seen.value("http_server_active_requests")
            told.append((message["type"], *counts))

        scope = {"type": "http", "method": "GET", "path": "/trace", "raw_path": b"/trace", "query_string": b""}
        await app({**scope, "root_path": "", "headers": [], "http_version": "1.1"}, receive, send)
    assert told == [("http.response.start", None, 1), ("http.response.body", 1, 0)]


async def test_an_application_that_never_answers_is_measured(settings: TelemetrySettings) -> None:
    """Cancelled or gone without an answer: no status, and nothing stays under way."""
    with capture(settings) as seen:
        app = FastAPI(telemetry=seen.telemetry.fastapi_config())

        @app.get("/never")
        async def never() -> None:
            raise asyncio.CancelledError

        seen.telemetry.instrument(app)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: Message) -> None:
            pass

        scope = {"type": "http", "method": "GET", "path": "/never", "raw_path": b"/never", "query_string": b""}
        with pytest.raises(asyncio.CancelledError):
            await app({**scope, "root_path": "", "headers": [], "http_version": "1.1"}, receive, send)
        assert seen.value("http_server_active_requests") == 0
        assert seen.value(f"{DURATION}_count", http_route="/never") == 1
        assert seen.value(f"{DURATION}_count", http_route="/never", http_response_status_code="500") is None


async def test_the_context_is_left_as_it_was(settings: TelemetrySettings) -> None:
    """A service that calls itself in process finds its own span current afterwards."""
    with capture(settings) as seen:
        transport = httpx.ASGITransport(build(seen.telemetry))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            before = get_current_span()
            assert (await client.get("/trace")).json()
            assert get_current_span() is before
