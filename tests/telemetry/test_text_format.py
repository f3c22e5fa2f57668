"""What is written without prometheus_client is what prometheus_client writes."""

import math
from collections.abc import Callable, Iterable, Iterator

import pytest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.exposition import generate_latest as text
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, NativeHistogram, Timestamp

from telemetry.prometheus.content_negotiation import Format
from telemetry.prometheus.text_format import write

HELP = 'Left "to" sell,\nor \\not.'
AWKWARD = '"q" \\ \n{x="y"} ü €\u2028\r'
NUMBERS = [0, 1, -1.5, 1e6, 123456789.0, 1e22, 1e-9, math.inf, -math.inf, math.nan, True]
EXEMPLARS = (
    Exemplar({"trace_id": "1f", "a": AWKWARD}, 0.25, Timestamp(7, 25)),
    Exemplar({"trace_id": "2f"}, 1e9),
    Exemplar({}, 3.0, Timestamp(1_700_000_000, 1)),
)
Families = list[Metric]


class Registry(Collector):
    """Families as prometheus_client takes them."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Give them."""
        return self._families


def gauges() -> Iterator[Metric]:
    """Every kind of number, awkward labels, a unit, and no sample at all."""
    gauge = GaugeMetricFamily("left", HELP, labels=["b", "a"])
    for number, value in enumerate(NUMBERS):
        gauge.add_metric([AWKWARD, str(number)], value)
    yield gauge
    yield GaugeMetricFamily("age_seconds", "Age.", unit="seconds", value=3)
    yield GaugeMetricFamily("none", "None.", labels=["a"])


def counters() -> Iterator[Metric]:
    """Exemplars with and without a time, a unit, a time of creation."""
    done = CounterMetricFamily("done", HELP, labels=["kind"])
    for number, exemplar in enumerate([*EXEMPLARS, None]):
        done.add_metric([str(number)], number, exemplar=exemplar)
    yield done
    yield CounterMetricFamily("busy_seconds", "Busy.", unit="seconds", value=1.5)
    yield CounterMetricFamily("made", "Made.", value=1, created=123.5)


def histograms() -> Iterator[Metric]:
    """With a sum, without one, and with exemplars."""
    wait = HistogramMetricFamily("wait_seconds", HELP, labels=["route"], unit="seconds")
    wait.add_metric(["/a"], [("0.5", 1, EXEMPLARS[0]), ("1.0", 2), ("+Inf", 2, EXEMPLARS[1])], 1.25)
    wait.add_metric([AWKWARD], [("0.5", 0), ("+Inf", 0)], 0)
    yield wait
    yield HistogramMetricFamily("change", "Change.", buckets=[("-1.0", 1), ("+Inf", 2)], sum_value=None)


def special() -> Iterator[Metric]:
    """What is left to prometheus_client: other types, times of samples, native histograms, names in UTF-8."""
    yield InfoMetricFamily("target", "Target.", {"name": "x"})
    yield UnknownMetricFamily("unknown", "Unknown.", 1)
    yield SummaryMetricFamily("size", "Size.", count_value=2, sum_value=3)
    yield GaugeHistogramMetricFamily("held", "Held.", buckets=[("1.0", 1), ("+Inf", 2)], gsum_value=3)
    timed = GaugeMetricFamily("timed", "Timed.", labels=["a"])
    timed.add_metric(["b"], 1, timestamp=5)
    yield timed
    native = Metric("native", "Native.", "histogram")
    native.add_sample("native", {}, 0, native_histogram=NativeHistogram(1, 2.0, 3, 4.0, 5))
    yield native
    yield GaugeMetricFamily("left.over", "Names of OpenTelemetry.", value=1)
    named = GaugeMetricFamily("named", "A label of that kind.", labels=["a.b", "c"])
    named.add_metric(["1", "2"], 1)
    yield named


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("make", [gauges, counters, histograms, special])
def test_each_line_is_as_prometheus_client_writes_it(make: Callable[[], Iterator[Metric]], form: Format) -> None:
    """In both formats, and again when the beginnings of the lines are known."""
    families = list(make())
    if form is Format.TEXT:
        families = [family for family in families if family.name != "native"]  # it has no form there
    theirs = (text if form is Format.TEXT else openmetrics)(Registry(families), escaping=ALLOWUTF8)
    for _ in range(2):
        ours = write(families, form)
        assert sorted(ours.split(b"\n")) == sorted(theirs.split(b"\n"))
        assert ours.endswith(b"# EOF\n") == (form is Format.OPENMETRICS)


def test_what_both_write_is_one_exposition() -> None:
    """The strict parser takes it: each family in one piece, one end."""
    families = [InfoMetricFamily("target", "Target.", {"name": "x"}), *gauges(), *counters(), *histograms()]
    body = write(families, Format.OPENMETRICS).decode()
    found = {family.name: family for family in strict(body)}  # type: ignore[no-untyped-call]
    assert found.keys() == {family.name for family in families}
    assert len(found["left"].samples) == len(NUMBERS)


def test_zero_has_one_form() -> None:
    """The text of a number is kept by its value, and -0 and 0 are one value."""
    for value in (-0.0, 0.0, 0, False):
        assert write([GaugeMetricFamily("a", "A.", value=value)], Format.TEXT).endswith(b"\na 0.0\n")
