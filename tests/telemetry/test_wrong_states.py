"""Wrong states are refused at start, with one line that says what to do."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from telemetry import CounterSpec, GaugeSpec, Telemetry, TelemetrySettings
from telemetry.settings import INTERCEPTORS
from telemetry.testing import capture

DURATION = "http_server_request_duration_seconds"


@pytest.fixture(params=INTERCEPTORS)
def settings(request: pytest.FixtureRequest) -> TelemetrySettings:
    """Return settings for each interceptor."""
    return TelemetrySettings(service_name="shop", interceptor=request.param, sampler="always_on")


async def ask(app: FastAPI) -> None:
    """Send one request."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        await client.get("/docs")


def refused(telemetry: Telemetry, app: FastAPI) -> str:
    """Return the one line with which an application is refused."""
    with pytest.raises(RuntimeError) as caught:
        telemetry.instrument(app)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_without_its_configuration(settings: TelemetrySettings) -> None:
    """FastAPI would measure each request once more, with the global providers."""
    with capture(settings) as seen:
        assert "FastAPI(telemetry=telemetry.fastapi_config())" in refused(seen.telemetry, FastAPI())


def test_with_the_configuration_of_another(settings: TelemetrySettings) -> None:
    """Native would measure for the other; under the others nobody would be told."""
    with capture(settings) as seen, capture(settings) as other:
        app = FastAPI(telemetry=other.telemetry.fastapi_config())
        other.telemetry.instrument(app)
        assert refused(seen.telemetry, app)


def test_half_a_configuration(settings: TelemetrySettings) -> None:
    """Its spans are off, and its metrics are not."""
    with capture(settings) as seen:
        assert "fastapi_config" in refused(seen.telemetry, FastAPI(telemetry={"tracing": False}))


async def test_after_the_first_request(settings: TelemetrySettings) -> None:
    """The layers are built by then, and nothing would be measured."""
    with capture(settings) as seen:
        app = FastAPI(telemetry=seen.telemetry.fastapi_config())
        await ask(app)
        assert "before" in refused(seen.telemetry, app)


def test_after_somebody_else(settings: TelemetrySettings) -> None:
    """By hand: the message names the call. What `opentelemetry-instrument` does is taken over."""
    with capture(settings) as seen:
        app = FastAPI(telemetry=seen.telemetry.fastapi_config())
        FastAPIInstrumentor.instrument_app(app)
        assert "FastAPIInstrumentor.instrument_app" in refused(seen.telemetry, app)


async def test_twice_is_once(settings: TelemetrySettings) -> None:
    """The second time does nothing."""
    with capture(settings) as seen:
        app = FastAPI(telemetry=seen.telemetry.fastapi_config())
        seen.telemetry.instrument(app)
        seen.telemetry.instrument(app)
        await ask(app)
        assert seen.value(f"{DURATION}_count") == 1
        assert [span.name for span in seen.spans()] == ["GET /docs"]


def test_an_application_is_left_alone_when_the_sdk_is_disabled() -> None:
    """Whatever its state."""
    with Telemetry(TelemetrySettings(service_name="shop", sdk_disabled=True), set_global=False) as telemetry:
        telemetry.instrument(FastAPI())


def spec(kind: Any, name: str, unit: str) -> Any:
    """Return a declaration."""
    return kind(name=name, unit=unit, description="A.")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            spec(CounterSpec, "shop.sold", "1"),
            spec(GaugeSpec, "shop.sold", "1"),
        ),
        (
            spec(CounterSpec, "shop.sold", "1"),
            spec(CounterSpec, "shop_sold", "1"),
        ),
        (
            spec(GaugeSpec, "shop.wait", "s"),
            spec(GaugeSpec, "shop.wait.seconds", "1"),
        ),
    ],
)
def test_two_instruments_of_one_name(first: Any, second: Any) -> None:
    """To Prometheus they would be one, and one of them would be missing there."""

    def declare(telemetry: Telemetry, spec: Any) -> None:
        if isinstance(spec, CounterSpec):
            telemetry.counter(spec)
        else:
            telemetry.observe(spec, lambda: [(1, {})])

    with capture() as seen:
        declare(seen.telemetry, first)
        with pytest.raises(ValueError, match="shop"):
            declare(seen.telemetry, second)


async def test_two_processes_of_one_name(tmp_path: Path) -> None:
    """Each scrape would show one of them; the second one ends at its start, and the first goes on."""
    settings = TelemetrySettings(service_name="shop", worker="api-0", socket_dir=tmp_path)
    with Telemetry(settings, set_global=False) as one, Telemetry(settings, set_global=False) as two:
        async with one.serving_peers():
            with pytest.raises(RuntimeError, match="api-0") as caught:
                async with two.serving_peers():
                    pass
            assert "\n" not in str(caught.value)
            third = Telemetry(
                TelemetrySettings(service_name="shop", worker="api-1", socket_dir=tmp_path), set_global=False
            )
            body, _ = await third.exposition_of_all()
            assert b'worker="api-0"' in body
        async with asyncio.timeout(5), two.serving_peers():
            pass
