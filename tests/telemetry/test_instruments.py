"""Declared instruments: names, zeros, guards, and series that disappear."""

import math
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from telemetry import CounterSpec, GaugeSpec, HistogramSpec, Telemetry, TelemetrySettings, UpDownCounterSpec
from telemetry.metrics.instruments import InstrumentError
from telemetry.testing import capture

ORDERS = CounterSpec(
    name="shop.orders",
    unit="{order}",
    description="Orders.",
    attributes={"status": ("new", "done")},
)
WAIT = HistogramSpec(name="shop.wait", unit="s", description="Wait.", buckets=(0.1, 1.0))
STOCK = GaugeSpec(name="shop.stock", unit="{item}", description="Left.", attributes={"product": None}, scope="fleet")


def test_counter_with_closed_attributes_exists_at_zero() -> None:
    """Every combination of closed values is there before the first observation."""
    with capture() as seen:
        counter = seen.telemetry.counter(ORDERS)
        assert seen.value("shop_orders_total", status="new", worker="test-0") == 0
        assert seen.value("shop_orders_total", status="done", worker="test-0") == 0
        counter.add(2, {"status": "new"})
        assert seen.value("shop_orders_total", status="new") == 2
        assert seen.value("shop_orders_total", status="done") == 0


def test_histogram_has_the_declared_buckets() -> None:
    """The bounds are those of the spec, not the SDK's defaults."""
    with capture() as seen:
        seen.telemetry.histogram(WAIT).record(0.5)
        bounds = {dict(labels)["le"] for name, labels in seen.metrics() if name == "shop_wait_seconds_bucket"}
        assert bounds == {"0.1", "1.0", "+Inf"}
        assert seen.value("shop_wait_seconds_bucket", le="0.1") == 0
        assert seen.value("shop_wait_seconds_bucket", le="1.0") == 1


def test_up_down_counter_goes_both_ways() -> None:
    """It is a gauge to Prometheus and carries the worker."""
    spec = UpDownCounterSpec(name="shop.connections", unit="{connection}", description="Open.")
    with capture() as seen:
        connections = seen.telemetry.up_down_counter(spec)
        connections.add(2)
        connections.add(-1)
        assert seen.value("shop_connections", worker="test-0") == 1


def test_fleet_series_carry_no_worker_and_stop_when_another_process_exports_them() -> None:
    """`fleet_exporter` takes effect at the next scrape, both ways."""
    with capture() as seen:
        seen.telemetry.observe(STOCK, lambda: [(7, {"product": "a"})])
        assert ("shop_stock", frozenset({("product", "a")})) in seen.metrics()
        seen.telemetry.fleet_exporter = False
        assert seen.value("shop_stock") is None
        seen.telemetry.fleet_exporter = True
        assert seen.value("shop_stock") == 7


@pytest.mark.parametrize("kind", [CounterSpec, GaugeSpec, UpDownCounterSpec])
def test_a_series_that_is_not_read_disappears(kind: type[CounterSpec | GaugeSpec]) -> None:
    """No stale value and no false 0, for each kind of observable instrument."""
    readings = [(3.0, {"product": "a"}), (4.0, {"product": "b"})]
    spec = kind(name="shop.read", unit="", description="Read.", attributes={"product": None})
    with capture() as seen:
        seen.telemetry.observe(spec, lambda: readings)
        name = spec.prometheus_name
        assert (seen.value(name, product="a"), seen.value(name, product="b")) == (3, 4)
        readings.pop()
        assert (seen.value(name, product="a"), seen.value(name, product="b")) == (3, None)
        readings.clear()
        assert seen.value(name) is None
        readings.append((5, {"product": "a"}))
        assert seen.value(name, product="a") == 5


@pytest.mark.parametrize("attributes", [{}, {"status": "lost"}, {"status": "new", "user": "u1"}, {"user": "u1"}])
def test_an_undeclared_observation_is_an_error_under_test(attributes: dict[str, str]) -> None:
    """A missing, unknown or undeclared attribute raises, and the message names the instrument."""
    with capture() as seen:
        counter = seen.telemetry.counter(ORDERS)
        with pytest.raises(InstrumentError, match=r"shop\.orders"):
            counter.add(1, attributes)


@pytest.mark.parametrize(
    ("amount", "attributes"),
    [
        (1, {"status": "lost"}),
        (1, {"status": "new", "user": "u1"}),
        (1, {"status": ["new"]}),
        (-1, {"status": "new"}),
        (math.nan, {"status": "new"}),
        ("1", {"status": "new"}),
    ],
)
def test_an_undeclared_observation_is_counted_and_dropped_in_production(
    amount: float, attributes: dict[str, str]
) -> None:
    """Nothing raises, nothing is recorded, one more is counted."""
    telemetry = Telemetry(TelemetrySettings(service_name="shop", worker="api-0"), set_global=False)
    with telemetry:
        counter = telemetry.counter(ORDERS)
        dropped = 'telemetry_observations_dropped_total{instrument="shop.orders",worker="api-0"}'
        assert f"{dropped} 0.0" in telemetry.exposition()[0].decode()
        counter.add(amount, attributes)
        text = telemetry.exposition()[0].decode()
    assert f"{dropped} 1.0" in text
    assert 'shop_orders_total{status="new",worker="api-0"} 0.0' in text
    assert "user=" not in text


def test_a_reader_that_fails_costs_its_series_and_nothing_else() -> None:
    """The scrape goes on and the failure is counted; under test it is raised."""

    def broken() -> list[tuple[float, dict[str, str]]]:
        raise RuntimeError("no snapshot")

    telemetry = Telemetry(TelemetrySettings(service_name="shop", worker="api-0"), set_global=False)
    with telemetry:
        telemetry.counter(ORDERS)
        telemetry.observe(STOCK, broken)
        telemetry.exposition()
        text = telemetry.exposition()[0].decode()  # a scrape shows the failures of the ones before it
    assert "shop_stock" not in text.replace("shop.stock", "")
    assert 'telemetry_observations_dropped_total{instrument="shop.stock",worker="api-0"} 1.0' in text
    assert "shop_orders_total" in text
    with capture() as seen:
        seen.telemetry.observe(STOCK, broken)
        with pytest.raises(RuntimeError, match="no snapshot"):
            seen.metrics()


def test_one_name_is_declared_once() -> None:
    """The same spec gives the same instrument; another spec of that name is refused."""
    with capture() as seen:
        assert seen.telemetry.counter(ORDERS) is seen.telemetry.counter(ORDERS)
        with pytest.raises(ValueError, match=r"shop\.orders is already declared"):
            seen.telemetry.counter(CounterSpec(name="shop.orders", unit="{order}", description="Other."))
        seen.telemetry.observe(STOCK, lambda: [(1, {"product": "a"})])
        with pytest.raises(ValueError, match=r"shop\.stock is already observed"):
            seen.telemetry.observe(STOCK, list)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (ORDERS, "shop_orders_total"),
        (STOCK, "shop_stock"),
        (WAIT, "shop_wait_seconds"),
        (CounterSpec(name="shop.seen_total", unit="1", description="d"), "shop_seen_total"),
        (GaugeSpec(name="shop.age.seconds", unit="s", description="d"), "shop_age_seconds"),
        (GaugeSpec(name="shop.size", unit="By", description="d"), "shop_size_bytes"),
        (GaugeSpec(name="shop.error_rate", unit="{percent}", description="d"), "shop_error_rate"),
    ],
)
def test_prometheus_name_is_the_one_at_the_endpoint(spec: CounterSpec | GaugeSpec | HistogramSpec, name: str) -> None:
    """`prometheus_name` agrees with what a scrape shows, unit and suffix included."""
    with capture() as seen:
        values = dict.fromkeys(spec.attributes, "new")
        if isinstance(spec, HistogramSpec):
            seen.telemetry.histogram(spec).record(1, values)
        else:
            seen.telemetry.observe(spec, lambda: [(1, values)])
        families = text_string_to_metric_families(seen.telemetry.exposition()[0].decode())
        names = {sample.name for family in families for sample in family.samples}
    assert spec.prometheus_name == name
    assert name + ("_count" if isinstance(spec, HistogramSpec) else "") in names


def test_label_values_and_help_are_escaped() -> None:
    """Quotes, backslashes and newlines survive the round trip."""
    awkward = 'a"b\\c\nd {e}'
    spec = GaugeSpec(name="shop.stock", unit="", description="Left\nto \\sell.", attributes={"product": None})
    with capture() as seen:
        seen.telemetry.observe(spec, lambda: [(1, {"product": awkward})])
        text = seen.telemetry.exposition()[0].decode()
        assert "# HELP shop_stock Left\\nto \\\\sell." in text.splitlines()
        assert seen.value("shop_stock", product=awkward) == 1


def test_scrapes_take_turns() -> None:
    """A second scrape reads nothing before the first has read everything: the exporter would mix them up."""
    first_is_inside, first_may_end = threading.Event(), threading.Event()
    reads: list[str] = []

    def quick() -> list[tuple[float, dict[str, str]]]:
        reads.append(threading.current_thread().name)
        return []

    def slow() -> list[tuple[float, dict[str, str]]]:
        first_is_inside.set()
        first_may_end.wait(10)
        return []

    with capture() as seen:
        seen.telemetry.observe(GaugeSpec(name="shop.quick", unit="", description="Read first."), quick)
        seen.telemetry.observe(GaugeSpec(name="shop.slow", unit="", description="Read last.", scope="fleet"), slow)
        threads = [threading.Thread(target=seen.telemetry.exposition, name=name) for name in ("first", "second")]
        threads[0].start()
        assert first_is_inside.wait(10)
        threads[1].start()
        threads[1].join(0.3)
        assert reads == ["first"]
        first_may_end.set()
        for thread in threads:
            thread.join(10)
    assert reads == ["first", "second"]


def test_disabled_sdk_measures_nothing_and_breaks_nothing() -> None:
    """`OTEL_SDK_DISABLED` leaves every call in place and without effect."""
    settings = TelemetrySettings(service_name="shop", worker="api-0", sdk_disabled=True)
    with capture(settings) as seen:
        seen.telemetry.counter(ORDERS).add(1, {"status": "new"})
        with seen.telemetry.tracer("test").start_as_current_span("work"):
            pass
        assert seen.value("shop_orders_total") is None
        assert seen.spans() == []
