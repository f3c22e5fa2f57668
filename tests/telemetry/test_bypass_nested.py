"""Several applications in one process: each request is one, recorded or not."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span, set_span_in_context

from telemetry import Telemetry, TelemetrySettings
from telemetry.settings import INTERCEPTORS, Interceptor
from telemetry.testing import Capture, capture
from tests.support import serve
from tests.support.http import http_client
from tests.telemetry.test_interceptor_parity import DURATION

TRACE = 0xABC


@pytest.fixture(params=INTERCEPTORS)
def interceptor(request: pytest.FixtureRequest) -> Interceptor:
    """Return each interceptor."""
    chosen: Interceptor = request.param
    return chosen


@pytest.fixture(params=[0, 1_000_000], ids=["unrecorded", "recorded"])
def settings(request: pytest.FixtureRequest, interceptor: Interceptor) -> TelemetrySettings:
    """Return settings under which no trace is recorded, and such under which each is."""
    return TelemetrySettings(
        service_name="shop", worker="api-0", traces_per_second=request.param, slow_seconds=60, interceptor=interceptor
    )


def build(seen: Capture) -> FastAPI:
    """Build an application with one route, as yet without its interceptor."""
    app = FastAPI(telemetry=seen.telemetry.fastapi_config())

    @app.get("/trace")
    async def told() -> str:
        return f"{get_current_span().get_span_context().trace_id:x}"

    return app


async def ask(app: FastAPI, path: str, headers: dict[str, str] | None = None) -> Any:
    """Send a request over a socket, and return the answer."""
    async with serve(app) as url, http_client(url) as client:
        return (await client.get(path, headers=headers)).raise_for_status().json()


def spans(seen: Capture, settings: TelemetrySettings) -> list[int]:
    """Return how many spans there are, and how many there should be."""
    return [len(seen.spans()), 1 if settings.traces_per_second else 0]


async def test_an_instrumented_application_in_another_is_one_request(settings: TelemetrySettings) -> None:
    """The outer one counts it."""
    with capture(settings) as seen:
        outer, inner = build(seen), build(seen)
        outer.mount("/inner", inner)
        seen.telemetry.instrument(inner)
        seen.telemetry.instrument(outer)
        await ask(outer, "/inner/trace")
        assert seen.value(f"{DURATION}_count") == 1
        assert seen.value(f"{DURATION}_count", http_route="/inner/trace") == 1
        assert seen.value("http_server_active_requests") == 0
        found, wanted = spans(seen, settings)
        assert found == wanted


async def test_a_mounted_application_leaves_its_own_telemetry_off(
    settings: TelemetrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FastAPI's own is on wherever there are global providers, and would count each request again."""
    with capture(settings) as seen:
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: seen.telemetry.tracer_provider)
        monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", lambda: seen.telemetry.meter_provider)
        outer, inner = build(seen), FastAPI()
        inner.add_api_route("/hello", lambda: None)
        outer.mount("/inner", inner)
        seen.telemetry.instrument(outer)
        await ask(outer, "/inner/hello")
        assert seen.value(f"{DURATION}_count") == 1
        found, wanted = spans(seen, settings)
        assert found == wanted


async def test_an_application_that_was_never_instrumented_goes_its_old_way(settings: TelemetrySettings) -> None:
    """Native measures it by its configuration alone, also beside one that is instrumented; contrib knows nothing."""
    with capture(settings) as seen:
        seen.telemetry.instrument(build(seen))
        await ask(build(seen), "/trace")
        assert seen.value(f"{DURATION}_count") == (1 if settings.interceptor == "native" else None)


async def test_it_has_the_parent_that_the_instrumentation_finds(settings: TelemetrySettings) -> None:
    """Where a span is current contrib makes a child of it; native looks at the headers alone."""
    with capture(settings) as seen:
        app = build(seen)
        seen.telemetry.instrument(app)
        flags = TraceFlags(TraceFlags.SAMPLED if settings.traces_per_second else TraceFlags.DEFAULT)
        before = NonRecordingSpan(SpanContext(TRACE, 1, is_remote=False, trace_flags=flags))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            token = contexts.attach(set_span_in_context(before))
            told = [(await client.get("/trace")).json() for _ in range(2)]
            contexts.detach(token)
        assert len({*told, f"{TRACE:x}"}) == (3 if settings.interceptor == "native" else 1)
        origins = {"none": 2.0} if settings.interceptor == "native" else {"local": 2.0}
        assert {
            dict(labels)["otel_span_parent_origin"]: value
            for (name, labels), value in seen.metrics().items()
            if name == "otel_sdk_span_started_total"
        } == origins


class Odd(TextMapPropagator):
    """Writes a header in capitals, and reads one that it does not name, as other formats than W3C's do."""

    fields = frozenset(("X-Odd-Trace",))  # type: ignore[assignment]

    def inject(self, carrier: Any, context: Context | None = None, setter: Any = None) -> None:
        """Write nothing."""

    def extract(self, carrier: Any, context: Context | None = None, getter: Any = None) -> Context:
        """Read either header."""
        found = getter.get(carrier, "X-Odd-Trace") or getter.get(carrier, "x-odd-short")
        span = NonRecordingSpan(SpanContext(int(found[0], 16), 1, is_remote=True)) if found else None
        return set_span_in_context(span, context or Context()) if span else (context or Context())


@pytest.mark.parametrize("header", ["x-odd-trace", "x-odd-short"])
async def test_any_propagator_is_asked_for_the_parent(settings: TelemetrySettings, header: str) -> None:
    """Whatever its headers are called."""
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Odd())
    try:
        with capture(replace(settings, keep_propagators=True)) as seen:
            app = build(seen)
            seen.telemetry.instrument(app)
            assert await ask(app, "/trace", {header: "abc"}) == "abc"
    finally:
        propagate.set_global_textmap(before)


@pytest.mark.parametrize("one", [True, False], ids=["one telemetry", "two"])
async def test_a_telemetry_that_is_left_out_says_so(
    interceptor: Interceptor, caplog: pytest.LogCaptureFixture, *, one: bool
) -> None:
    """Each request is measured by the outer application's; that of the inner one shows none, which is told once."""
    settings = TelemetrySettings(service_name="shop", worker="api-0", interceptor=interceptor)
    outer = Telemetry(settings, set_global=False)
    inner = outer if one else Telemetry(replace(settings, service_name="inside"), set_global=False)
    host, mounted = FastAPI(), FastAPI()
    mounted.add_api_route("/x", lambda: 1)
    host.mount("/in", mounted)
    outer.install(host)
    inner.install(mounted, metrics_path=None)
    async with serve(host) as url, http_client(url) as client:
        assert [(await client.get("/in/x")).json() for _ in range(2)] == [1, 1]
        text = (await client.get("/metrics")).text
    assert f'{DURATION}_count{{http_request_method="GET",http_response_status_code="200",http_route="/in/x"' in text
    told = [message for message in caplog.messages if message.startswith("requests are measured by the application")]
    assert [("of inside:" in message) for message in told] == ([] if one else [True])
    inner.shutdown()
