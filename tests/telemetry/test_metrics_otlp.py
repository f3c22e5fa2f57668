"""Metrics by OTLP: the same figures as at `/metrics`, exact, cumulative or as deltas, whatever the collector does."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry import CounterSpec, GaugeSpec, HistogramSpec, Telemetry, TelemetrySettings, UpDownCounterSpec
from tests.support import eventually
from tests.telemetry.collector import Collector

SOLD = CounterSpec(name="shop.sold", unit="{unit}", description="A.", attributes={"product": None})
WAIT = HistogramSpec(name="shop.wait", unit="s", description="A.", buckets=(1.0, 2.0))
OPEN = UpDownCounterSpec(name="shop.open", unit="{door}", description="A.")
LEFT = GaugeSpec(name="shop.left", unit="{unit}", description="A.", scope="fleet")
KEPT = CounterSpec(name="shop.kept", unit="{unit}", description="A.")
DELTA, CUMULATIVE = otlp.AGGREGATION_TEMPORALITY_DELTA, otlp.AGGREGATION_TEMPORALITY_CUMULATIVE


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a collector."""
    with Collector() as running:
        yield running


def settings(collector: Collector, **environ: str) -> TelemetrySettings:
    """Return settings under which metrics go to it, when they are flushed."""
    asked = {"OTEL_METRICS_EXPORTER": "prometheus,otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    return TelemetrySettings.from_env(asked | environ, service_name="shop", worker="api-0")


def sent(collector: Collector, name: str) -> list[otlp.Metric]:
    """Return a metric of each batch that has it."""
    return [
        metric
        for request in list(collector.metric_requests)
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
    ]


def value(point: otlp.NumberDataPoint) -> float:
    """Return what a point says, as an integer or not."""
    return point.as_int if point.HasField("as_int") else point.as_double


def flush(telemetry: Telemetry) -> bool:
    """Send what there is now, as a host does that knows the meter provider alone."""
    return bool(telemetry.meter_provider.force_flush())  # type: ignore[attr-defined]  # the SDK's provider has it, too


@pytest.mark.parametrize("temporality", ["", "cumulative", "delta", "lowmemory"])
def test_what_is_sent_adds_up_to_what_was_measured(collector: Collector, temporality: str) -> None:
    """Sums and histograms, by their attributes; a delta begins where the one before it ended."""
    told = settings(collector, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=temporality)
    with Telemetry(told, set_global=False) as telemetry:
        sold, wait, doors = telemetry.counter(SOLD), telemetry.histogram(WAIT), telemetry.up_down_counter(OPEN)
        kept = 0.0
        telemetry.observe(KEPT, lambda: [(kept, {})])
        for number in range(1, 4):
            for product in ("lamp", "chair"):
                sold.add(number, {"product": product})
            wait.record(number - 0.5)
            doors.add(-1 if number == 3 else 1)
            kept += number
            assert flush(telemetry)
    counts: defaultdict[str, list[float]] = defaultdict(list)
    for metric in sent(collector, "shop.sold"):
        for point in metric.sum.data_points:
            counts[point.attributes[0].value.string_value].append(value(point))
    is_delta = temporality in ("delta", "lowmemory")
    expected = [1, 2, 3, 0] if is_delta else [1, 3, 6, 6]
    assert counts == {"lamp": expected, "chair": expected}
    assert {metric.sum.aggregation_temporality for metric in sent(collector, "shop.sold")} == {
        DELTA if is_delta else CUMULATIVE
    }
    buckets = [list(metric.histogram.data_points[0].bucket_counts) for metric in sent(collector, "shop.wait")]
    assert buckets == (
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]] if is_delta else [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]
    )
    assert [value(metric.sum.data_points[0]) for metric in sent(collector, "shop.open")] == [1, 2, 1, 1]
    read = [value(metric.sum.data_points[0]) for metric in sent(collector, "shop.kept")]
    assert read == ([1, 2, 3, 0] if temporality == "delta" else [1, 3, 6, 6])
    points = [metric.sum.data_points[0] for metric in sent(collector, "shop.sold")]
    if is_delta:
        ends = [point.time_unix_nano for point in points]
        assert [point.start_time_unix_nano for point in points[1:]] == ends[:-1]
    else:
        assert len({point.start_time_unix_nano for point in points}) == 1
        assert len({m.sum.data_points[0].start_time_unix_nano for m in sent(collector, "shop.kept")}) == 1


@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
def test_what_the_collector_did_not_take_is_in_the_next_batch(collector: Collector, temporality: str) -> None:
    """Nothing is lost, and nothing is counted twice."""
    told = settings(
        collector, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=temporality, OTEL_EXPORTER_OTLP_TIMEOUT="0.2"
    )
    with Telemetry(told, set_global=False) as telemetry:
        sold = telemetry.counter(SOLD)
        sold.add(1, {"product": "lamp"})
        assert flush(telemetry)
        collector.mode = "refuse"
        sold.add(10, {"product": "lamp"})
        assert not flush(telemetry)
        collector.mode = "answer"
        sold.add(100, {"product": "lamp"})
        assert flush(telemetry)
    values = [value(metric.sum.data_points[0]) for metric in sent(collector, "shop.sold")]
    assert values == ([1, 110, 0] if temporality == "delta" else [1, 111, 111])


def test_the_figures_are_those_of_the_scrape(collector: Collector) -> None:
    """Both at one time, exemplars included, which stay with `/metrics`; the resource says who it is."""
    with Telemetry(settings(collector), set_global=False) as telemetry:
        telemetry.counter(SOLD).add(3, {"product": "lamp"})
        flush(telemetry)
        body, _ = telemetry.exposition()
    assert b'shop_sold_total{product="lamp",worker="api-0"} 3.0' in body
    assert value(sent(collector, "shop.sold")[0].sum.data_points[0]) == 3
    resource = collector.metric_requests[0].resource_metrics[0].resource
    attributes = {attribute.key: attribute.value.string_value for attribute in resource.attributes}
    assert (attributes["service.name"], attributes["worker"]) == ("shop", "api-0")


def test_the_fleet_s_figures_are_sent_by_the_process_that_exports_them(collector: Collector) -> None:
    """And by no other."""
    with Telemetry(settings(collector), set_global=False) as telemetry:
        telemetry.observe(LEFT, lambda: [(7, {})])
        telemetry.fleet_exporter = False
        flush(telemetry)
        assert sent(collector, "shop.left") == []
        telemetry.fleet_exporter = True
        flush(telemetry)
        assert [value(metric.gauge.data_points[0]) for metric in sent(collector, "shop.left")] == [7]


def test_they_are_sent_in_an_interval_and_at_the_end(collector: Collector) -> None:
    """Without anybody's asking."""
    told = settings(collector, OTEL_METRIC_EXPORT_INTERVAL="50")
    with Telemetry(told, set_global=False) as telemetry:
        telemetry.counter(SOLD).add(1, {"product": "lamp"})
        eventually(lambda: len(sent(collector, "shop.sold")) >= 2, 5, "two batches")
    slow = settings(collector, OTEL_SERVICE_NAME="slow")
    collector.metric_requests.clear()
    with Telemetry(slow, set_global=False) as telemetry:
        telemetry.counter(SOLD).add(1, {"product": "lamp"})
    assert len(sent(collector, "shop.sold")) == 1


def test_nothing_is_sent_unless_it_is_asked_for(collector: Collector) -> None:
    """An endpoint alone is one for spans and log lines."""
    told = replace(settings(collector, OTEL_METRICS_EXPORTER=""), otlp_logs=None)
    assert told.otlp_metrics is None
    with Telemetry(told, set_global=False) as telemetry:
        telemetry.counter(SOLD).add(1, {"product": "lamp"})
        assert flush(telemetry)
    assert collector.metric_requests == []


def test_a_collector_that_hangs_holds_nobody_up(collector: Collector) -> None:
    """The end waits no longer for it than for spans."""
    collector.mode = "hang"
    telemetry = Telemetry(settings(collector), set_global=False)
    telemetry.start()
    telemetry.counter(SOLD).add(1, {"product": "lamp"})
    assert not telemetry.shutdown(timeout=1.0)
    assert telemetry.exporter_health["metrics"].value in ("unknown", "unhealthy")
