"""Our own aggregation gives what the SDK's gives, and counts to the unit whoever records."""

import math
import os
import random
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric

from telemetry import CounterSpec
from telemetry.metrics.aggregation import View
from telemetry.metrics.provider import AggregatingMeterProvider

VALUES: list[Any] = ["a", "b", 1, 1.0, True, "1", "True", 2, -1, ["a"], ["a", "b"]]
Observe = Callable[[CallbackOptions], Iterable[Observation]]


@pytest.fixture
def meters() -> AggregatingMeterProvider:
    """Return a provider that nobody reads."""
    return AggregatingMeterProvider(SdkMeterProvider([], shutdown_on_exit=False))


def points(metrics: Iterable[Metric]) -> dict[tuple[str, str], Any]:
    """Return what each series shows, by instrument and attributes with their types."""
    shown: dict[tuple[str, str], Any] = {}
    for metric in metrics:
        for point in metric.data.data_points:
            values = {k: list(v) if isinstance(v, tuple) else v for k, v in (point.attributes or {}).items()}
            key = repr(sorted(values.items(), key=lambda item: item[0]))
            if hasattr(point, "value"):
                shown[metric.name, key] = (metric.unit, metric.description, point.value)
            else:
                shown[metric.name, key] = (point.count, round(point.sum, 6), list(point.bucket_counts))  # type: ignore[union-attr]
    return shown


def record(provider: MeterProvider, chance: random.Random) -> None:
    """Record the same for the same chance."""
    meter = provider.get_meter("test")
    counter = meter.create_counter("done", "{job}", "Jobs.")
    level = meter.create_up_down_counter("open", "1")
    plain = meter.create_histogram("plain", "ms")
    wait = meter.create_histogram("wait", "s", explicit_bucket_boundaries_advisory=[0.1, 1, 10])
    for _ in range(3000):
        names = chance.sample(["x", "y", "z"], chance.randint(0, 3))
        attributes = {name: chance.choice(VALUES) for name in names}
        counter.add(chance.choice([0, 1, 2.5, -1, math.nan, math.inf]), attributes)
        level.add(chance.choice([1, -1, 3, math.nan]), attributes)
        plain.record(chance.choice([0, 5, 7500.0, 99999, -1]), attributes)
        wait.record(chance.choice([0, 0.1, 0.100001, 1, 10, 11, math.inf]), attributes or None)


def test_it_is_what_the_sdk_says() -> None:
    """Random measurements, among them some that are refused; SEED=... repeats a run."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    reader = InMemoryMetricReader()
    sdk = SdkMeterProvider([reader], shutdown_on_exit=False, exemplar_filter=AlwaysOffExemplarFilter())
    ours = AggregatingMeterProvider(SdkMeterProvider([], shutdown_on_exit=False))
    for provider in (sdk, ours):
        record(provider, random.Random(seed))
    data = reader.get_metrics_data()
    assert data is not None
    expected = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
    assert points(ours.metrics()) == points(m for m in expected if not m.name.startswith("otel.")), f"SEED={seed}"


def test_nothing_is_lost_between_threads(meters: AggregatingMeterProvider) -> None:
    """Four threads, one series."""
    counter = meters.get_meter("test").create_counter("done")
    wait = meters.get_meter("test").create_histogram("wait")

    def work() -> None:
        for number in range(20_000):
            counter.add(1, {"kind": "a"})
            wait.record(number % 7, {"kind": "a"})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = points(meters.metrics())
    assert shown["done", "[('kind', 'a')]"][2] == 80_000
    assert shown["wait", "[('kind', 'a')]"][0] == 80_000


def test_only_what_is_kept_makes_series() -> None:
    """Other attributes are added up, an instrument of which nothing is kept costs nothing."""
    rules = {"wait": View(attributes=("route",), buckets=(1.0,)), "size": None}
    meters = AggregatingMeterProvider(SdkMeterProvider([], shutdown_on_exit=False), rules)
    meter = meters.get_meter("test")
    wait, size = meter.create_histogram("wait"), meter.create_histogram("size")
    for number in range(5):
        wait.record(0.5, {"client": f"c{number}", "route": "/a"})
        wait.record(1.5, {"client": f"c{number}"})
        size.record(1)
    assert points(meters.metrics()) == {
        ("wait", "[('route', '/a')]"): (5, 2.5, [5, 0]),
        ("wait", "[]"): (5, 7.5, [0, 5]),
    }


def test_attributes_that_cannot_be_kept_do_not_fill_the_memory(meters: AggregatingMeterProvider) -> None:
    """An object that the SDK would leave out is left out, however many there are."""
    counter = meters.get_meter("test").create_counter("done")
    for _ in range(10_000):
        counter.add(1, {"kind": "a", "what": object()})  # type: ignore[dict-item]
    series = counter._series  # type: ignore[attr-defined]
    assert len(series._known) <= 4_000


def test_what_is_read_is_what_the_callbacks_give_now(meters: AggregatingMeterProvider) -> None:
    """A callback that fails costs its own series; of two equal ones the later counts; NaN is none."""
    now: dict[str, float] = {"a": 1, "b": math.nan}

    def level(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(7, {"kind": "a"})
        for kind, value in now.items():
            yield Observation(value, {"kind": kind})

    def broken(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(1, {"kind": "c"})
        raise ZeroDivisionError

    meter = meters.get_meter("test")
    meter.create_observable_gauge("level", [level, broken], "1", "Level.")
    meter.create_observable_counter("done", [level])
    meter.create_observable_up_down_counter("open", [level])
    shown = {key: value[2] for key, value in points(meters.metrics()).items()}
    one = "[('kind', 'a')]"
    assert shown == {("level", one): 1, ("level", "[('kind', 'c')]"): 1, ("done", one): 1, ("open", one): 1}
    now.clear()
    now["d"] = 4
    assert ("level", "[('kind', 'd')]") in points(meters.metrics())


@pytest.mark.parametrize(
    "kind",
    [
        *("counter", "histogram", "gauge", "up_down_counter"),
        *("observable_counter", "observable_gauge", "observable_up_down_counter"),
    ],
)
@pytest.mark.parametrize("name", ["", "9 lives", "\u00e4", "x" * 256])
def test_a_name_that_the_sdk_refuses_is_refused(meters: AggregatingMeterProvider, kind: str, name: str) -> None:
    """By whatever library makes it, for with an empty one no scrape is answered any more."""
    for provider in (meters, SdkMeterProvider([], shutdown_on_exit=False)):
        with pytest.raises(Exception, match=r"cannot be called|Expected ASCII string of maximum length 255"):
            getattr(provider.get_meter("library"), f"create_{kind}")(name)
    assert list(meters.all_metrics()) == []


def test_a_declaration_has_a_name() -> None:
    """It is refused where it is written, not where it is first used."""
    with pytest.raises(ValueError, match="an instrument cannot be called ''"):
        CounterSpec(name="", unit="1", description="Nameless.")
