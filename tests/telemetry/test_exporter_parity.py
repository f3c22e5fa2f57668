"""What `/metrics` shows is what opentelemetry-exporter-prometheus shows of the same instruments.

`DIFFERENCES` names every one there is, with its reason and with a test that sees both sides: when the exporter's side
of one changes, that test fails, and what is added to it here may go.
"""

import math
import os
import random
from collections import Counter
from collections.abc import Iterable

import pytest
from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest as text
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict

from telemetry.metrics.exemplars import Exemplars
from telemetry.metrics.provider import AggregatingMeterProvider
from telemetry.prometheus.content_negotiation import Format
from telemetry.prometheus.reader import PrometheusReader, ReaderCollector
from telemetry.prometheus.text_format import write
from tests.telemetry.test_provider import record

RESOURCE = Resource({"service.name": "shop", "worker": "api-0", "deployment.zone": "a b"})
DIFFERENCES = {
    "exemplars": "the exporter drops them",
    "one name, two meters": "the exporter gives the second one's values to the first one's labels",
    "one name, two types": "the exporter writes two families of one name, which is no valid exposition",
    "bounds": "the exporter writes a bound as it was given, OpenMetrics wants 5.0 and 1e+06",
    "half a surrogate pair": "the exporter's text cannot be encoded: the scrape fails",
    "flushed between scrapes": "the exporter shows every series again for each flush",
    "after the end": "the exporter shows nothing once its provider has ended",
    "exponential histograms": "the exporter fails at one, and with it the scrape; here it is left out and told, once",
}


class Side:
    """A meter provider and what a scrape of it shows."""

    def __init__(self, *, ours: bool, views: Iterable[View] = ()) -> None:
        self.registry = CollectorRegistry()
        if ours:
            reader: PrometheusMetricReader = PrometheusReader(
                Exemplars(), RESOURCE, resource_labels=["worker", "deployment.zone"], target_info=True
            )
            assert isinstance(reader, PrometheusReader)
            self.registry.register(ReaderCollector(reader))
        else:
            chosen = {"worker", "deployment.zone"}.__contains__
            reader = PrometheusMetricReader(
                scope_info_enabled=False, resource_attribute_filter=chosen, registry=self.registry
            )
        off = AlwaysOffExemplarFilter() if ours else AlwaysOnExemplarFilter()
        self.sdk = SdkMeterProvider([reader], RESOURCE, shutdown_on_exit=False, exemplar_filter=off, views=[*views])
        self.provider: MeterProvider = self.sdk
        if ours:
            self.provider = aggregating = AggregatingMeterProvider(self.sdk)
            reader.add_producer(aggregating.metrics)  # type: ignore[attr-defined]

    def meter(self, name: str = "test") -> Meter:
        """Return a meter."""
        return self.provider.get_meter(name)

    def families(self) -> list[Metric]:
        """Scrape; what the SDK says of its own reader is left out."""
        return [family for family in self.registry.collect() if not family.name.startswith("otel_sdk_")]


@pytest.fixture
def ours() -> Side:
    """Return the reader of this library, behind its meter provider."""
    return Side(ours=True)


@pytest.fixture
def theirs() -> Side:
    """Return the exporter as it is, behind the SDK."""
    return Side(ours=False)


def fill(side: Side, seed: int) -> None:
    """Measure with instruments of every kind, the same for the same seed."""
    record(side.provider, random.Random(seed))
    meter = side.meter()

    def level(_: CallbackOptions) -> Iterable[Observation]:
        chance = random.Random(seed)
        return [Observation(chance.choice([0, 1.5, -2, 10**12]), {"n": n, "b": n % 2 == 0}) for n in range(20)]

    def total(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(3, {"half": "a"}), Observation(4.5, {"other": "b"})]

    meter.create_observable_gauge("room.temperature", [level], "Cel", 'It\'s "warm",\nor \\ not.')
    meter.create_observable_counter("read-total", [total], "By", "Read.")
    meter.create_observable_up_down_counter("ratio/of", [total], "1/s")
    meter.create_gauge("set", "By/s").set(2.5, {"a.b": [1, 2], "9": 'ü\n"'})
    meter.create_histogram("below", "{x}", explicit_bucket_boundaries_advisory=[-1.0, 0.0]).record(0.5)


def shown(families: Iterable[Metric]) -> dict[str, tuple[object, ...]]:
    """Return everything that families say, in a form that has no order."""
    return {
        family.name: (
            family.type,
            family.documentation,
            family.unit,
            Counter(
                (sample.name, *sorted(sample.labels.items()), round(float(sample.value), 6))
                for sample in family.samples
            ),
        )
        for family in families
    }


def test_the_same_instruments_are_the_same_families(ours: Side, theirs: Side) -> None:
    """Names, help, types, units, labels and values of thousands of random measurements; SEED=... repeats a run."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    for side in (ours, theirs):
        fill(side, seed)
    expected = shown(theirs.families())
    assert len(expected) == 10, "target_info is one"
    _without_the_form_of_bounds(expected)
    for _ in range(2):
        mine = shown(ours.families())
        _without_the_form_of_bounds(mine)
        assert mine == expected, f"SEED={seed}"


def _without_the_form_of_bounds(families: dict[str, tuple[object, ...]]) -> None:
    for name, (kind, said, unit, samples) in families.items():
        assert isinstance(samples, Counter)
        same: Counter[object] = Counter()
        for sample, number in samples.items():
            same[(*(("le", float(part[1])) if part[0] == "le" else part for part in sample[1:-1]), sample[-1])] += (
                number
            )
        families[name] = (kind, said, unit, same)


@pytest.mark.parametrize("form", Format)
def test_the_text_is_the_same_to_the_letter(ours: Side, theirs: Side, form: Format) -> None:
    """All lines but those of the SDK's own figures, in both formats."""
    for side in (ours, theirs):
        meter = side.meter()
        meter.create_counter("orders", "{order}", 'Orders "of" all.').add(2, {"product": 'a"b\\c\nd'})
        meter.create_histogram("wait", "s", explicit_bucket_boundaries_advisory=[0.5, 1.0]).record(0.75, {"a.b": True})
        meter.create_observable_gauge("left", [lambda _: [Observation(7, {"product": "ü"})]])
    writer = text if form is Format.TEXT else openmetrics
    assert _lines(write(ours.families(), form)) == _lines(writer(_registry(theirs.families())))


def _registry(families: list[Metric]) -> CollectorRegistry:
    class Families:
        def collect(self) -> Iterable[Metric]:
            return families

    registry = CollectorRegistry()
    registry.register(Families())
    return registry


def _lines(body: bytes) -> list[str]:
    return sorted(body.decode().split("\n"))


def test_difference_exemplars(ours: Side, theirs: Side) -> None:
    """A measurement inside a recorded span."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("work")
    for side, count in ((ours, 2), (theirs, 0)):
        counter, wait = side.meter().create_counter("n"), side.meter().create_histogram("wait")
        with trace.use_span(span):
            counter.add(1)
            wait.record(3)
        samples = [sample for family in side.families() for sample in family.samples]
        assert sum(sample.exemplar is not None for sample in samples) == count


def test_difference_one_name_two_meters(ours: Side, theirs: Side) -> None:
    """Two instrumentations that count under one name, by other labels."""
    for side, right in ((ours, True), (theirs, False)):
        side.meter("one").create_counter("jobs").add(1, {"kind": "a"})
        side.meter("two").create_counter("jobs").add(2, {"queue": "b"})
        (jobs,) = [family for family in side.families() if family.name == "jobs"]
        by_queue = [sample.value for sample in jobs.samples if sample.labels.get("queue") == "b"]
        assert (by_queue == [2]) is right


def test_difference_one_name_two_types(ours: Side, theirs: Side, caplog: pytest.LogCaptureFixture) -> None:
    """The first is shown and the second is told, once."""
    for side, times in ((ours, 1), (theirs, 2)):
        side.meter("one").create_counter("jobs").add(1)
        side.meter("two").create_up_down_counter("jobs").add(2)
        assert [family.name for family in side.families()].count("jobs") == times
    ours.families()
    assert [line for line in caplog.messages if "jobs" in line and "exported" in line] == [
        "jobs is not exported: a Sum of that name cannot be"
    ]


@pytest.mark.parametrize(("bound", "as_given"), [(5, "5"), (1_000_000.0, "1000000.0")])
def test_difference_bounds(ours: Side, theirs: Side, bound: float, as_given: str) -> None:
    """The strict parser refuses the one and takes the other."""
    for side in (ours, theirs):
        side.meter().create_histogram("wait", explicit_bucket_boundaries_advisory=[bound]).record(1)
    assert f'le="{as_given}"' in openmetrics(theirs.registry).decode()  # type: ignore[no-untyped-call]
    body = write(ours.families(), Format.OPENMETRICS).decode()
    assert f'le="{as_given}"' not in body
    (wait,) = [family for family in strict(body) if family.name == "wait"]  # type: ignore[no-untyped-call]
    assert {float(sample.labels["le"]) for sample in wait.samples if "le" in sample.labels} == {bound, math.inf}


def test_difference_half_a_surrogate_pair(ours: Side, theirs: Side) -> None:
    """A label that came from bytes which are no UTF-8."""
    for side in (ours, theirs):
        side.meter().create_counter("n").add(1, {"user": "half \ud800 a pair"})
    assert b'user="half ? a pair"' in write(ours.families(), Format.TEXT)
    with pytest.raises(UnicodeEncodeError):
        text(theirs.registry)


def test_difference_flushed_between_scrapes(ours: Side, theirs: Side) -> None:
    """As a shutdown or a test does."""
    for side, times in ((ours, 1), (theirs, 2)):
        side.meter().create_counter("n").add(1)
        side.sdk.force_flush()
        samples = [sample for family in side.families() if family.name == "n" for sample in family.samples]
        assert len(samples) >= times
        assert (len(samples) == 1) is (side is ours)


def test_difference_after_the_end(ours: Side, theirs: Side) -> None:
    """The last figures of an application whose lifespan is over."""
    for side, count in ((ours, 1), (theirs, 0)):
        side.meter().create_counter("n").add(1)
        side.families()
        side.sdk.shutdown()
        assert len([family for family in side.families() if family.name == "n"]) == count


def test_difference_exponential_histograms(caplog: pytest.LogCaptureFixture) -> None:
    """A view of the SDK's asks for one."""
    exponential = [View(instrument_name="set", aggregation=ExponentialBucketHistogramAggregation())]
    one, other = Side(ours=True, views=exponential), Side(ours=False, views=exponential)
    for side in (one, other):
        side.sdk.get_meter("test").create_histogram("set").record(1)
    assert [family.name for _ in range(2) for family in one.families()] == ["target", "target"]
    assert caplog.messages == ["set is not exported: a ExponentialHistogram of that name cannot be"]
    with pytest.raises(AttributeError):
        other.families()


def test_every_difference_has_a_test() -> None:
    """And every such test is for one that is named."""
    tests = {
        name.removeprefix("test_difference_").replace("_", " ") for name in globals() if "test_difference_" in name
    }
    assert tests == {name.replace(",", "") for name in DIFFERENCES}
