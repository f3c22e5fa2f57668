"""A host that has OpenTelemetry already keeps its spans and its metrics: nothing vanishes, nothing is there twice."""

import sys
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

from telemetry import CounterSpec, GaugeSpec, Telemetry, TelemetrySettings
from telemetry.settings import INTERCEPTORS
from tests.support import Program, eventually, free_port
from tests.support.http import http_session
from tests.telemetry.collector import Collector

ROOT = Path(__file__).parents[2]
DURATION = "http.server.request.duration"
SOLD = CounterSpec(name="shop.sold", unit="{unit}", description="Units sold.", attributes={"product": ("lamp", "vase")})
STOCK = GaugeSpec(name="shop.stock", unit="{unit}", description="Units left.")


def settings(interceptor: str = "contrib") -> TelemetrySettings:
    """Return settings with an interceptor."""
    return TelemetrySettings(service_name="shop", worker="a", interceptor=interceptor)  # type: ignore[arg-type]


async def ask(app: FastAPI, times: int) -> None:
    """Send requests."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        for _ in range(times):
            await client.get("/items/lamp")


def application(telemetry: Telemetry, tracers: TracerProvider) -> FastAPI:
    """Return an application that has a span of the host's in its handler."""
    app = FastAPI()

    @app.get("/items/{item}")
    async def item(item: str) -> str:
        with tracers.get_tracer("host").start_as_current_span("host-work"):
            return item

    telemetry.install(app)
    return app


def counted(reader: InMemoryMetricReader, name: str) -> dict[str, float]:
    """Return what a reader has of a metric: its count or value, by its attributes."""
    data = reader.get_metrics_data()
    found: dict[str, float] = {}
    for resource in data.resource_metrics if data else ():
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics if metric.name == name):
            for point in metric.data.data_points:
                key = ",".join(f"{key}={value!s}" for key, value in sorted((point.attributes or {}).items()))
                assert key not in found
                assert isinstance(point, HistogramDataPoint | NumberDataPoint)
                found[key] = point.count if isinstance(point, HistogramDataPoint) else point.value
    return found


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_its_providers_have_it_all(interceptor: str) -> None:
    """One trace for a request, by its provider; its metrics by its meter provider; `/metrics` says the same."""
    spans, processed, reader = InMemorySpanExporter(), InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    with Telemetry(
        settings(interceptor),
        set_global=False,
        tracer_provider=tracers,
        meter_provider=meters,
        span_processors=[SimpleSpanProcessor(processed)],
    ) as telemetry:
        telemetry.counter(SOLD).add(2, {"product": "lamp"})
        telemetry.observe(STOCK, lambda: [(7, {})])
        await ask(application(telemetry, tracers), 3)
        text = telemetry.exposition()[0].decode()
        names = [span.name for span in spans.get_finished_spans()]
        assert names == ["host-work", "GET /items/{item}"] * 3
        assert [span.name for span in processed.get_finished_spans()] == names
        inner, outer = spans.get_finished_spans()[:2]
        assert inner.parent
        assert outer.context
        assert inner.parent.span_id == outer.context.span_id
        attributes = "http.request.method=GET,http.response.status_code=200,http.route=/items/{item}"
        assert counted(reader, DURATION) == {attributes: 3}
        assert counted(reader, SOLD.name) == {"product=lamp": 2, "product=vase": 0}
        assert counted(reader, STOCK.name) == {"": 7}
    assert 'http_server_request_duration_seconds_count{http_request_method="GET"' in text
    assert 'shop_sold_total{product="lamp",worker="a"} 2.0' in text
    with tracers.get_tracer("host").start_as_current_span("after"):
        pass
    assert spans.get_finished_spans()[-1].name == "after", "the host's provider is not ours to end"


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_its_sampler_decides(interceptor: str) -> None:
    """And every request is measured."""
    spans = InMemorySpanExporter()
    tracers = TracerProvider(ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    with Telemetry(settings(interceptor), set_global=False, tracer_provider=tracers) as telemetry:
        await ask(application(telemetry, tracers), 3)
        assert "} 3.0" in next(
            line for line in telemetry.exposition()[0].decode().splitlines() if "duration_seconds_count" in line
        )
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_a_sampler_of_ones_own(interceptor: str) -> None:
    for sampler, expected in ((ALWAYS_ON, 3), (ALWAYS_OFF, 0)):
        spans = InMemorySpanExporter()
        chosen = {"sampler": sampler, "span_processors": [SimpleSpanProcessor(spans)]}
        with Telemetry(settings(interceptor), set_global=False, **chosen) as telemetry:  # type: ignore[arg-type]
            await ask(application(telemetry, TracerProvider(shutdown_on_exit=False)), 3)
        assert [span.name for span in spans.get_finished_spans()] == ["GET /items/{item}"] * expected


def test_two_samplers_are_refused() -> None:
    with pytest.raises(ValueError, match="sampler"):
        Telemetry(settings(), set_global=False, sampler=ALWAYS_ON, tracer_provider=TracerProvider())


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_readers_of_ones_own(interceptor: str) -> None:
    """Cumulative or deltas, as each of them asks; at the end they are ended."""
    deltas: dict[type, AggregationTemporality] = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)
    plain, delta = InMemoryMetricReader(), InMemoryMetricReader(preferred_temporality=deltas)
    with Telemetry(settings(interceptor), set_global=False, metric_readers=[plain, delta]) as telemetry:
        app = application(telemetry, TracerProvider(shutdown_on_exit=False))
        for round_ in range(1, 3):
            await ask(app, 3)
            assert sum(counted(plain, DURATION).values()) == 3 * round_
            assert sum(counted(delta, DURATION).values()) == 3
            active = counted(plain, "http.server.active_requests")
            assert set(active.values()) == {0}


GLOBAL = """
import asyncio, httpx
from fastapi import FastAPI
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from telemetry import Telemetry
tracers, meters = TracerProvider(), MeterProvider()
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(meters)
with Telemetry("shop") as telemetry:
    assert telemetry.tracer_provider is tracers
    assert trace.get_tracer_provider() is tracers and metrics.get_meter_provider() is meters
print("kept", flush=True)
"""
FIRST = """
from opentelemetry import metrics, trace
from telemetry import Telemetry
with Telemetry("shop") as telemetry:
    assert trace.get_tracer_provider() is telemetry.tracer_provider
    assert metrics.get_meter_provider() is telemetry.meter_provider
    with Telemetry("another") as other:
        assert other.tracer_provider is not telemetry.tracer_provider
        assert trace.get_tracer_provider() is telemetry.tracer_provider
print("ours", flush=True)
"""
LATE = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from telemetry import Telemetry
telemetry = Telemetry("shop")
tracers, meters = TracerProvider(), MeterProvider()
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(meters)
with telemetry:
    assert trace.get_tracer_provider() is tracers and metrics.get_meter_provider() is meters
print("kept", flush=True)
"""


@pytest.mark.parametrize(("script", "said"), [(GLOBAL, "kept"), (FIRST, "ours")])
def test_global_providers_of_the_host_stay_and_else_ours_become_global(script: str, said: str) -> None:
    with Program([sys.executable, "-W", "error::DeprecationWarning:telemetry", "-c", script]) as program:
        program.wait_for_line(said, 60)
        assert "Overriding" not in program.output


def test_a_host_that_comes_too_late_is_told() -> None:
    """Its traces and ours are torn apart; one line for each provider says what to do."""
    with Program([sys.executable, "-c", LATE]) as program:
        program.wait_for_line("kept", 60)
        assert program.output.count("make Telemetry after it") == 2
        assert "Overriding" not in program.output


SHOP = """
from fastapi import FastAPI
from telemetry import Telemetry

app = FastAPI()

@app.get("/items/{item}")
async def item(item: str) -> str:
    return item

Telemetry("shop").install(app)
"""


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
def test_under_opentelemetry_instrument_nothing_vanishes_and_nothing_doubles(interceptor: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    port = free_port()
    programs = Path(sys.executable).parent
    command = [str(programs / "opentelemetry-instrument"), str(programs / "uvicorn"), "shop:app", "--port", str(port)]
    with Collector() as collector:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_SERVICE_NAME": "shop",
            "TELEMETRY_INTERCEPTOR": interceptor,
            "PYTHONPATH": str(ROOT),
        }
        with (
            Program(command, env=env, cwd=tmp_path) as program,
            http_session(f"http://127.0.0.1:{port}") as client,
        ):
            program.wait_for_line("Uvicorn running", 60)
            for _ in range(30):
                assert client.get("/items/lamp").json() == "lamp"
            text = client.get("/metrics").text
            program.terminate()
            assert "Traceback" not in program.output
        [count] = [line for line in text.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
        assert count.endswith("} 30.0")
        eventually(lambda: len(collector.spans()) >= 30, 5, "the spans are there")
        assert sorted(span.name for span in collector.spans()) == ["GET /items/{item}"] * 30
        assert sent(collector) == 30


def sent(collector: Collector) -> int:
    """Return how many requests the last batches of each sender say that there were."""
    last = {}
    for request in collector.metric_requests:
        for resource in request.resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                if metric.name == DURATION:
                    last[resource.resource.SerializeToString()] = sum(p.count for p in metric.histogram.data_points)
    return sum(last.values())
