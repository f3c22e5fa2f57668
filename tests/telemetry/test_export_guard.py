"""Nothing in the telemetry can raise into a request."""

from collections.abc import Sequence
from typing import NoReturn

import pytest
from fastapi import FastAPI, Response
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telemetry import CounterSpec, GaugeSpec, Telemetry, TelemetrySettings
from telemetry.export.health import Health, MonitoredSpanExporter, SafeSpanProcessor
from telemetry.settings import INTERCEPTORS, Interceptor
from tests.support import eventually, serve
from tests.support.http import http_client

BROKEN = GaugeSpec(name="shop.broken", unit="1", description="Cannot be read.")
CLOSED = CounterSpec(name="shop.closed", unit="1", description="Has two values.", attributes={"result": ("ok", "bad")})


def refuse(*_: object) -> NoReturn:
    """Fail as a defect fails."""
    raise RuntimeError("a defect in the telemetry")


class BrokenProcessor(SpanProcessor):
    """Raises at each occasion."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Fail."""
        refuse(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Fail."""
        refuse(span)


class BrokenExporter(SpanExporter):
    """Raises at each batch."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Fail."""
        refuse(spans)


def build(telemetry: Telemetry) -> FastAPI:
    """Build an application that uses all that is broken."""
    app = FastAPI(telemetry=telemetry.fastapi_config())
    closed = telemetry.counter(CLOSED)
    telemetry.observe(BROKEN, refuse)

    @app.get("/items/{item}")
    async def item(item: str) -> None:
        closed.add(1, {"result": "unheard of"})
        closed.add(-1, {"result": "ok"})
        if item == "crash":
            raise RuntimeError("a bug")

    @app.get("/metrics")
    async def metrics() -> Response:
        body, content_type = telemetry.exposition()
        return Response(body, media_type=content_type)

    telemetry.instrument(app)
    return app


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
@pytest.mark.parametrize("traces_per_second", [1000, 0])
async def test_what_is_broken_is_counted_and_the_answer_is_right(
    interceptor: Interceptor, traces_per_second: float
) -> None:
    """Processor, reader and observation fail, recorded or written afterwards; the other processor has its spans."""
    settings = TelemetrySettings(service_name="shop", interceptor=interceptor, traces_per_second=traces_per_second)
    spans = InMemorySpanExporter()
    kept = BatchSpanProcessor(spans, schedule_delay_millis=10)
    telemetry = Telemetry(settings, set_global=False, span_processors=[BrokenProcessor(), kept])
    with telemetry:
        async with (
            serve(build(telemetry), log_level="critical") as url,
            http_client(url) as client,
        ):
            assert (await client.get("/items/a")).status_code == 200
            assert (await client.get("/items/crash")).status_code == 500
            text = (await client.get("/metrics")).text
        expected = 2 if traces_per_second else 1
        eventually(lambda: len(spans.get_finished_spans()) == expected, 5, "the spans are there")
    assert f'telemetry_failures_total{{part="span_processor",worker="main"}} {2.0 * expected}' in text
    assert 'telemetry_observations_dropped_total{instrument="shop.closed",worker="main"} 4.0' in text
    assert 'telemetry_observations_dropped_total{instrument="shop.broken",worker="main"} 1.0' in text
    assert "shop_broken" not in text.replace("shop.broken", "")


def test_an_exporter_that_raises_is_counted() -> None:
    """The thread of the queue lives on."""
    failures: list[str] = []
    delivery = MonitoredSpanExporter(BrokenExporter())
    delivery.count_failure = failures.append
    assert delivery.export([]) is SpanExportResult.FAILURE
    assert failures == ["span_exporter"]
    assert delivery.health is Health.UNHEALTHY


def test_under_test_a_broken_processor_is_an_error() -> None:
    """`telemetry.testing` does not hide a defect."""
    guarded = SafeSpanProcessor(BrokenProcessor(), lambda _: None, strict=True)
    with pytest.raises(RuntimeError, match="a defect"):
        guarded.on_end(ReadableSpan("a"))
