"""`telemetry.testing`: the fixture, applications that exist already, and what happens more than once."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI
from opentelemetry import trace

from telemetry import CounterSpec, GaugeSpec, Telemetry, TelemetrySettings
from telemetry.settings import INTERCEPTORS
from telemetry.testing import Capture, capture
from tests.support.processes import run
from tests.telemetry.collector import Collector

COUNT = "http_server_request_duration_seconds_count"
SOLD = CounterSpec(name="shop.sold", unit="1", description="Sold.")
STOCK = GaugeSpec(name="shop.stock", unit="1", description="Left.")
pytest_plugins = ["telemetry.pytest_plugin"]


@pytest.fixture(params=INTERCEPTORS)
def interceptor(request: pytest.FixtureRequest) -> Any:
    """Return each interceptor."""
    return request.param


def shop(interceptor: Any, **settings: Any) -> tuple[FastAPI, Telemetry]:
    """Return a service as it is at the top of somebody's module: nothing is recorded, for there is no endpoint."""
    chosen = TelemetrySettings(service_name="shop", interceptor=interceptor, **settings)
    telemetry = Telemetry(chosen, set_global=False)
    sold, tracer = telemetry.counter(SOLD), telemetry.tracer("shop")
    telemetry.observe(STOCK, lambda: [(7, {})])

    async def mail() -> None:
        with tracer.start_as_current_span("mail"):
            await asyncio.sleep(0)

    app = FastAPI()
    telemetry.install(app)

    @app.get("/buy/{item}")
    async def buy(item: str, later: BackgroundTasks) -> str:
        sold.add(1)
        later.add_task(mail)
        return item

    return app, telemetry


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run an application's lifespan, as a test client does."""
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop")
    async with app.router.lifespan_context(app), client:
        yield client


def names(seen: Capture) -> list[str]:
    """Return the names of the spans, without those that contrib gives to background tasks."""
    return sorted(span.name for span in seen.spans() if not span.name.startswith("BackgroundTask"))


async def test_an_application_that_exists(interceptor: Any, telemetry: Capture) -> None:
    """Its spans are recorded although it sends none, those of background tasks too; counters begin at attachment."""
    app, own = shop(interceptor)
    async with running(app) as client:
        await client.get("/buy/lamp")
        telemetry.attach(app)
        await client.get("/buy/sofa")
    assert names(telemetry) == ["GET /buy/{item}", "mail"]
    assert telemetry.value("shop_sold_total") == 1
    assert telemetry.value(COUNT, http_route="/buy/{item}") == 1
    assert telemetry.value("shop_stock") == 7
    assert own.settings.sampler is None


async def test_a_second_capture_and_a_second_lifespan(interceptor: Any) -> None:
    """Each sees its own, and afterwards nothing is recorded any more."""
    app, own = shop(interceptor)
    for _ in range(2):
        with capture() as seen:
            seen.attach(app)
            for times in (1, 2):
                async with running(app) as client:
                    await client.get("/buy/lamp")
                assert names(seen) == sorted(["GET /buy/{item}", "mail"] * times)
                assert seen.value("shop_sold_total") == times
    async with running(app) as client:
        await client.get("/buy/lamp")
    assert names(seen) == sorted(["GET /buy/{item}", "mail"] * 2)
    with own.tracer("shop").start_as_current_span("unseen") as span:
        assert not span.is_recording()


@pytest.mark.parametrize("interceptor", ["contrib", "lean"])
async def test_spans_of_background_tasks_are_their_application_s(interceptor: Any) -> None:
    """Not those of the application that was instrumented first; below the request's span."""
    first, second = shop(interceptor)[0], shop(interceptor)[0]
    with capture() as one, capture() as two:
        one.attach(first)
        two.attach(second)
        async with running(second) as client:
            await client.get("/buy/lamp")
        assert one.spans() == []
        task = next(span for span in two.spans() if span.name == "BackgroundTask mail")
        server = next(span for span in two.spans() if span.name == "GET /buy/{item}")
        assert task.parent is not None
        assert server.context is not None
        assert task.parent.span_id == server.context.span_id


async def test_a_lifespan_that_runs_again_sends_again(interceptor: Any) -> None:
    """Spans, and metrics as deltas of which none is lost or sent twice, go to the collector both times."""
    with Collector() as collector:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            "OTEL_TRACES_SAMPLER": "always_on",
            "TELEMETRY_INTERCEPTOR": interceptor,
        }
        telemetry = Telemetry(TelemetrySettings.from_env(environ, service_name="shop"), set_global=False)
        app = FastAPI()
        telemetry.install(app)
        for times in (1, 2):
            async with running(app) as client:
                await client.get("/openapi.json")
            assert [span.name for span in collector.spans()] == ["GET /openapi.json"] * times
            points = [
                point.count
                for request in collector.metric_requests
                for resource in request.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
                if metric.name == "http.server.request.duration"
                for point in metric.histogram.data_points
            ]
            assert sum(points) == times


def test_it_begins_where_the_application_has_no_telemetry(telemetry: Capture) -> None:
    """The message says what to do."""
    with pytest.raises(RuntimeError, match="install"):
        telemetry.attach(FastAPI())


def test_an_application_whose_telemetry_is_disabled(telemetry: Capture) -> None:
    """The message names the variable."""
    off = Telemetry(TelemetrySettings(service_name="shop", sdk_disabled=True), set_global=False)
    with pytest.raises(RuntimeError, match="OTEL_SDK_DISABLED"):
        telemetry.attach(off)


async def test_an_application_of_the_test_s_own(telemetry: Capture) -> None:
    """It is given the fixture's telemetry."""
    app = FastAPI()
    telemetry.telemetry.install(app)
    async with running(app) as client:
        await client.get("/openapi.json")
    async with running(app) as client:
        await client.get("/openapi.json")
    assert names(telemetry) == ["GET /openapi.json"] * 2
    assert telemetry.value(COUNT) == 2


def test_the_global_providers_are_left_alone(telemetry: Capture) -> None:
    """A test of somebody else's finds them as they were."""
    assert trace.get_tracer_provider() is not telemetry.telemetry.tracer_provider


def test_the_plugin_loads_nothing_until_it_is_used(tmp_path: Path) -> None:
    """A test run without the fixture does not wait for OpenTelemetry."""
    root = Path(__file__).parents[2]
    (tmp_path / "test_nothing.py").write_text(
        "import sys\ndef test_nothing():\n    assert 'telemetry.runtime' not in sys.modules\n"
    )
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "telemetry.pytest_plugin",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    done = run(argv, cwd=root)
    assert done.returncode == 0, done.stdout
