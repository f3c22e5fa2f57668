"""The SDK's Views, on every kind of instrument: `/metrics`, OTLP and readers of one's own show the same."""

import logging
from collections.abc import Generator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from telemetry import CounterSpec, GaugeSpec, HistogramSpec, Telemetry, TelemetrySettings, UpDownCounterSpec
from telemetry.settings import INTERCEPTORS, OtlpMetricSettings
from tests.telemetry.collector import Collector

SOLD = CounterSpec(
    name="shop.sold",
    unit="{unit}",
    description="Units sold.",
    attributes={"product": ("lamp", "vase"), "channel": ("web", "shop")},
)
IN_CART = UpDownCounterSpec(name="shop.in_cart", unit="{unit}", description="In carts.", attributes={"user": None})
WAIT = HistogramSpec(name="shop.wait", unit="s", description="How long.", attributes={"queue": None})
STOCK = GaugeSpec(name="shop.stock", unit="{unit}", description="Left.", attributes={"product": None, "shelf": None})
VISITS = CounterSpec(name="shop.visits", unit="1", description="Visits.", attributes={"door": None, "hour": None})
VIEWS = [
    View(instrument_name="shop.sold", name="shop.units", description="Of all.", attribute_keys={"product"}),
    View(instrument_name="shop.in_*", attribute_keys=set()),
    View(
        instrument_type=Histogram, instrument_name="shop.wait", aggregation=ExplicitBucketHistogramAggregation((1, 9))
    ),
    View(instrument_name="shop.wait", name="shop.wait.by_queue", attribute_keys={"other"}),
    View(instrument_name="shop.stock", attribute_keys={"product"}),
    View(instrument_name="shop.visits", attribute_keys={"door"}),
    View(instrument_name="vendor.noise.*", aggregation=DropAggregation()),
    View(instrument_type=Counter, meter_name="vendor", instrument_name="vendor.calls", name="vendor.requests"),
    View(instrument_name="vendor.temperature", name="vendor.heat", attribute_keys={"room"}),
]


class Seen:
    """A telemetry with views, and what its three ways out show of it."""

    def __init__(self, collector: Collector, views: list[View], **settings: Any) -> None:
        self._collector = collector
        self._reader = InMemoryMetricReader()
        self.telemetry = Telemetry(
            TelemetrySettings(
                service_name="shop",
                worker="a",
                otlp_metrics=OtlpMetricSettings(metrics_endpoint=f"{collector.endpoint}/v1/metrics"),
                **settings,
            ),
            set_global=False,
            views=views,
            metric_readers=[self._reader],
        )

    def exposed(self) -> dict[str, Any]:
        """Return the series of `/metrics`, without the label of the process."""
        families = parse(self.telemetry.exposition()[0].decode())
        return {
            series(sample.name, {name: text for name, text in sample.labels.items() if name != "worker"}): sample.value
            for family in families
            for sample in family.samples
        }

    def sent(self) -> dict[str, Any]:
        """Return what the collector is sent: a value, or a count and its bounds."""
        self.telemetry.meter_provider.force_flush()  # type: ignore[attr-defined]
        last = self._collector.metric_requests[-1]
        found = {}
        for resource in last.resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                data: Any = getattr(metric, str(metric.WhichOneof("data")))
                for point in data.data_points:
                    labels = {pair.key: pair.value.string_value for pair in point.attributes}
                    found[series(metric.name, labels)] = value(point)
        return found

    def read(self) -> dict[str, Any]:
        """Return what a reader of the SDK's is given: as above."""
        data = self._reader.get_metrics_data()
        return {
            series(metric.name, dict(point.attributes or {})): value(point)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }


def series(name: str, labels: dict[str, Any]) -> str:
    """Return a series as text."""
    return f"{name}{{{','.join(f'{key}={labels[key]}' for key in sorted(labels))}}}"


def value(point: Any) -> Any:
    """Return what a data point says."""
    if hasattr(point, "explicit_bounds"):
        return (point.count, *point.explicit_bounds)
    if hasattr(point, "zero_count"):
        return point.count
    return point.value if hasattr(point, "value") else point.as_double or float(point.as_int)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Give a collector."""
    with Collector() as made:
        yield made


def measure(telemetry: Telemetry) -> None:
    """Use an instrument of every kind, declared ones and a library's."""
    sold, cart = telemetry.counter(SOLD), telemetry.up_down_counter(IN_CART)
    for channel in ("web", "shop"):
        sold.add(2, {"product": "lamp", "channel": channel})
    cart.add(3, {"user": "ann"})
    cart.add(-1, {"user": "bob"})
    for seconds in (0.5, 5, 50):
        telemetry.histogram(WAIT).record(seconds, {"queue": "q"})
    telemetry.observe(STOCK, lambda: [(7, {"product": "lamp", "shelf": shelf}) for shelf in ("a", "b")])
    telemetry.observe(VISITS, lambda: [(4, {"door": "north", "hour": hour}) for hour in ("1", "2")])
    meter = telemetry.meter_provider.get_meter("vendor")
    meter.create_counter("vendor.noise.count").add(1)
    meter.create_histogram("vendor.noise.time").record(1)
    meter.create_observable_gauge("vendor.noise.level", [lambda _: [Observation(1)]])
    meter.create_counter("vendor.calls").add(5, {"to": "bank"})
    meter.create_gauge("vendor.temperature").set(21, {"room": "hall", "sensor": "x"})
    meter.create_observable_gauge("vendor.generated", [generated()])


def generated() -> Generator[list[Observation], CallbackOptions, None]:
    """Be a callback that is a generator."""
    options = yield []
    while options:
        options = yield [Observation(8)]


def test_names_descriptions_bounds_attributes_and_what_is_dropped(collector: Collector) -> None:
    """Each of them at all three ways out; what no view is about is as it was."""
    seen = Seen(collector, VIEWS)
    with seen.telemetry:
        measure(seen.telemetry)
        exposed, sent, read = seen.exposed(), seen.sent(), seen.read()
        text = seen.telemetry.exposition()[0].decode()
    assert {name: number for name, number in exposed.items() if name.startswith(("shop_", "vendor_"))} == {
        "shop_units_total{product=lamp}": 4,
        "shop_units_total{product=vase}": 0,
        "shop_in_cart{}": 2,
        **{f"shop_wait_seconds_bucket{{le={le},queue=q}}": n for le, n in (("1.0", 1), ("9.0", 2), ("+Inf", 3))},
        "shop_wait_seconds_count{queue=q}": 3,
        "shop_wait_seconds_sum{queue=q}": 55.5,
        **{name: number for name, number in exposed.items() if name.startswith("shop_wait_by_queue_seconds")},
        "shop_stock{product=lamp}": 7,
        "shop_visits_total{door=north}": 8,
        "vendor_requests_total{to=bank}": 5,
        "vendor_heat{room=hall}": 21,
        "vendor_generated{}": 8,
    }
    assert exposed["shop_wait_by_queue_seconds_count{}"] == 3
    assert "# HELP shop_units_total Of all." in text
    expected: dict[str, Any] = {
        "shop.units{product=lamp}": 4,
        "shop.units{product=vase}": 0,
        "shop.in_cart{}": 2,
        "shop.wait{queue=q}": (3, 1, 9),
        "shop.wait.by_queue{}": (3, *WAIT.buckets),
        "shop.stock{product=lamp}": 7,
        "shop.visits{door=north}": 8,
        "vendor.requests{to=bank}": 5,
        "vendor.heat{room=hall}": 21,
    }
    for way in (sent, read):
        assert {name: number for name, number in way.items() if name.startswith(("shop.", "vendor."))} == (
            expected | ({"vendor.generated{}": 8} if way is sent else {})
        )


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_the_interceptors_own_metrics(interceptor: str, collector: Collector) -> None:
    """Their bounds, their names and their labels, and that they are left out."""
    duration = "http.server.request.duration"
    bounds = ExplicitBucketHistogramAggregation((0.1, 1))
    views = [
        View(instrument_name=duration, name="shop.requests", aggregation=bounds, attribute_keys={"http.route"}),
        View(instrument_name="http.server.active_requests", aggregation=DropAggregation()),
    ]
    seen = Seen(collector, views, interceptor=interceptor, sampler="always_on")
    app = FastAPI()
    app.add_api_route("/items/{item}", lambda item: item)
    with seen.telemetry:
        seen.telemetry.install(app)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            for _ in range(3):
                await client.get("/items/lamp")
        exposed, sent, read = seen.exposed(), seen.sent(), seen.read()
    shown = {name for name in exposed if name.startswith(("http_", "shop_"))}
    assert shown == {
        *(f"shop_requests_seconds_bucket{{http_route=/items/{{item}},le={le}}}" for le in ("0.1", "1.0", "+Inf")),
        *(f"shop_requests_seconds_{each}{{http_route=/items/{{item}}}}" for each in ("count", "sum")),
    }
    assert exposed["shop_requests_seconds_count{http_route=/items/{item}}"] == 3
    for way in (sent, read):
        assert {name: number for name, number in way.items() if name.startswith(("http.", "shop."))} == {
            "shop.requests{http.route=/items/{item}}": (3, 0.1, 1)
        }


def test_an_aggregation_that_text_has_no_form_for(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    """Is told in one line, and the metric stays; a reader of one's own has it."""
    seen = Seen(collector, [View(instrument_name="shop.wait", aggregation=ExponentialBucketHistogramAggregation())])
    with seen.telemetry, caplog.at_level(logging.ERROR):
        seen.telemetry.histogram(WAIT).record(1, {"queue": "q"})
        assert seen.exposed()["shop_wait_seconds_count{queue=q}"] == 1
        assert seen.read()["shop.wait{queue=q}"] == 1
    [record] = caplog.records
    assert "metric_readers=" in record.message


def test_what_is_no_view_is_refused() -> None:
    """As the message says."""
    with pytest.raises(TypeError, match="none"):
        Telemetry(TelemetrySettings(service_name="shop"), set_global=False, views=["shop.sold"])  # type: ignore[list-item]
