"""Exemplars: each names a trace that the collector has, for every scraper, for a while."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import Exemplar as Measured
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar

from telemetry import CounterSpec, HistogramSpec, Telemetry, TelemetrySettings
from telemetry.export.otlp import span_exporter
from telemetry.metrics.exemplars import KEEP_SECONDS, REMEMBERED_TRACES, Exemplars, ExportedTraces
from telemetry.settings import INTERCEPTORS, BatchSettings, Interceptor, OtlpSettings
from telemetry.testing import Capture, capture
from tests.support import serve, wait_until
from tests.support.http import http_client
from tests.telemetry.collector import Collector, Mode
from tests.telemetry.shop import build

OPENMETRICS = "application/openmetrics-text"
WAIT = HistogramSpec(name="shop.wait", unit="s", description="Wait.", buckets=(0.1, 1.0))
ORDERS = CounterSpec(name="shop.orders", unit="{order}", description="Orders.")


def exemplars(body: bytes, prefix: str = "shop_") -> dict[tuple[str, str], Exemplar]:
    """Return the exemplars of an answer by series name and bucket."""
    return {
        (sample.name, sample.labels.get("le", "")): sample.exemplar
        for family in text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar and sample.name.startswith(prefix)
    }


def shown(telemetry: Telemetry) -> dict[tuple[str, str], Exemplar]:
    """Return the exemplars that a scrape shows now."""
    return exemplars(telemetry.exposition(OPENMETRICS)[0])


def settings(collector: Collector) -> TelemetrySettings:
    """Return settings that record every trace and send it at once."""
    return TelemetrySettings(
        service_name="shop",
        worker="api-0",
        sampler="parentbased_always_on",
        otlp=OtlpSettings(traces_endpoint=f"{collector.endpoint}/v1/traces"),
        batch=BatchSettings(schedule_delay_millis=20),
    )


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_a_request_leaves_the_exemplar_of_its_own_server_span(interceptor: Interceptor) -> None:
    """Trace, span, value and time are those of a request that was served; the value lies in its bucket."""
    chosen = TelemetrySettings(
        service_name="shop", worker="api-0", sampler="parentbased_always_on", interceptor=interceptor
    )
    with capture(chosen) as seen:
        async with serve(build(seen.telemetry)) as url, http_client(url) as client:
            for item in range(5):
                await client.get(f"/items/{item}")
            answer = await client.get("/metrics", headers={"accept": OPENMETRICS})
        spans = {
            (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"): span
            for span in seen.spans()
            if span.context
        }
    found = exemplars(answer.content, "http_server_request_duration_seconds_bucket")
    assert found
    for (_, bound), exemplar in found.items():
        span = spans[exemplar.labels["trace_id"], exemplar.labels["span_id"]]
        assert span.start_time
        assert abs(float(str(exemplar.timestamp)) - span.start_time / 1e9) < 5
        assert exemplar.value <= float(bound)


def test_each_bucket_and_counter_has_its_own() -> None:
    with capture() as seen:
        wait, orders = seen.telemetry.histogram(WAIT), seen.telemetry.counter(ORDERS)
        for value in (0.05, 0.5, 5):
            with seen.telemetry.tracer("test").start_as_current_span("work"):
                wait.record(value)
        with seen.telemetry.tracer("test").start_as_current_span("work"):
            orders.add(2)
        found = shown(seen.telemetry)
        traces = [f"{span.context.trace_id:032x}" for span in seen.spans() if span.context]
        assert b"trace_id" not in seen.telemetry.exposition()[0], "plain text has no exemplars"
    bucket = "shop_wait_seconds_bucket"
    assert {series: (e.labels["trace_id"], e.value) for series, e in found.items()} == {
        (bucket, "0.1"): (traces[0], 0.05),
        (bucket, "1.0"): (traces[1], 0.5),
        (bucket, "+Inf"): (traces[2], 5),
        ("shop_orders_total", ""): (traces[3], 2),
    }


def record_in(seen: Capture, span: trace.Span) -> None:
    """Record one value while a span is current."""
    with trace.use_span(span):
        seen.telemetry.histogram(WAIT).record(0.5)


def test_only_a_span_that_is_recorded_here_gives_one() -> None:
    """Not a client's sampled parent, not a span that was not sampled, not no span at all."""
    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with capture() as seen:
        record_in(seen, NonRecordingSpan(remote))
        record_in(seen, trace.INVALID_SPAN)
        assert shown(seen.telemetry) == {}
        record_in(seen, seen.telemetry.tracer("test").start_span("work"))
        assert len(shown(seen.telemetry)) == 1
    off = TelemetrySettings(service_name="shop", worker="api-0", sampler="always_off")
    with capture(off) as seen:
        record_in(seen, seen.telemetry.tracer("test").start_span("work"))
        assert shown(seen.telemetry) == {}


def test_a_traced_scrape_is_not_the_exemplar_of_what_it_reads() -> None:
    with capture() as seen:
        seen.telemetry.observe(ORDERS, lambda: [(1, {})])
        with seen.telemetry.tracer("test").start_as_current_span("scrape"):
            assert shown(seen.telemetry) == {}


async def test_every_scraper_sees_it_once_the_collector_has_the_trace() -> None:
    """Before that, nobody does: the trace could still be lost."""
    with Collector() as collector, Telemetry(settings(collector), set_global=False) as telemetry:
        span = telemetry.tracer("test").start_span("work")
        with trace.use_span(span):
            telemetry.histogram(WAIT).record(0.5)
        assert shown(telemetry) == {}
        span.end()
        first = await wait_until(lambda: shown(telemetry))
        assert {f"{sent.trace_id.hex()}" for sent in collector.spans()} == {
            exemplar.labels["trace_id"] for exemplar in first.values()
        }
        assert shown(telemetry) == shown(telemetry) == first


@pytest.mark.parametrize(("mode", "noted"), [("answer", True), ("refuse", False)])
def test_a_trace_counts_as_exported_when_the_collector_took_it(mode: Mode, noted: bool) -> None:
    with Collector(mode) as collector, capture() as seen:
        with seen.telemetry.tracer("test").start_as_current_span("work") as span:
            trace_id = span.get_span_context().trace_id
        exported = ExportedTraces()
        otlp = OtlpSettings(traces_endpoint=f"{collector.endpoint}/v1/traces", timeout_seconds=0.2)
        exporter = span_exporter(otlp, MeterProvider(shutdown_on_exit=False), exported)
        exporter.export(seen.spans())
        assert (trace_id in exported) is noted


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the seconds so far."""
        return self.now


def measured(trace_id: int) -> Measured:
    return Measured({}, 0.5, 1_700_000_000_123_456_789, span_id=7, trace_id=trace_id)


def test_one_is_shown_for_two_minutes_and_no_longer() -> None:
    clock = Clock()
    kept = Exemplars(clock=clock)
    kept.offer("a", measured(1))
    one = kept.current("a")
    assert one is not None
    assert (one.labels, one.value) == ({"trace_id": f"{1:032x}", "span_id": f"{7:016x}"}, 0.5)
    assert str(one.timestamp) == "1700000000.123456789"
    clock.now = KEEP_SECONDS - 1
    assert kept.current("a") is one
    clock.now = KEEP_SECONDS
    assert kept.current("a") is None
    assert kept.current("b") is None
    assert not kept._series, "nothing is kept of what nobody sees"


def test_the_newest_exported_one_is_shown_and_the_others_wait() -> None:
    exported, clock = ExportedTraces(), Clock()
    kept = Exemplars(exported, clock)

    def trace_shown() -> int | None:
        exemplar = kept.current("a")
        return int(exemplar.labels["trace_id"], 16) if exemplar else None

    for trace_id in (1, 2, 3):
        kept.offer("a", measured(trace_id))
    assert trace_shown() is None
    exported.add([1, 2])
    assert trace_shown() == 2
    exported.add([3])
    assert trace_shown() == 3
    kept.offer("a", measured(4))
    clock.now = KEEP_SECONDS + 1
    exported.add([5])
    assert trace_shown() is None, "4 was lost, and 3 is old"
    assert not kept._series


def test_frequent_scrapes_do_not_push_out_the_one_that_is_exported_next() -> None:
    exported = ExportedTraces()
    kept = Exemplars(exported, Clock())
    for trace_id in range(100):
        kept.offer("a", measured(trace_id))
        kept.current("a")
    exported.add(range(8))
    assert kept.current("a") is not None


def test_what_is_remembered_of_exported_traces_is_bounded() -> None:
    exported = ExportedTraces()
    for trace_id in range(5 * REMEMBERED_TRACES):
        exported.add([trace_id])
    last = range(4 * REMEMBERED_TRACES, 5 * REMEMBERED_TRACES)
    assert all(trace_id in exported for trace_id in last)
    assert len(exported._new) + len(exported._old) <= 2 * REMEMBERED_TRACES
