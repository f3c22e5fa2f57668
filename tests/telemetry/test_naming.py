"""Names and units in Prometheus: the same as opentelemetry-exporter-prometheus gives them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family

from telemetry.metrics.naming import label_name, prometheus_name, unit_name

WORDS = ["d", "h", "min", "s", "ms", "us", "ns", "By", "KiBy", "MiBy", "GiBy", "TiBy", "KBy", "MBy", "GBy", "TBy", "m"]
WORDS += ["V", "A", "J", "W", "g", "Cel", "Hz", "1", "%", "w", "mo", "y", ""]
NAMES = st.one_of(st.text(min_size=1, max_size=12), st.from_regex(r"[a-z0-9._:/%-]{1,16}", fullmatch=True))
UNITS = st.one_of(
    NAMES,
    st.sampled_from([*WORDS, "{order}", "{a}/s", "1/mo", "km/h", "a//b", "/", "s/{x}"]),
    st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)).map("/".join),
)


class Exporter(PrometheusMetricReader):
    """The exporter, told of one gauge."""

    def __init__(self, name: str, unit: str = "", label: str = "a") -> None:
        self.shown = CollectorRegistry()
        super().__init__(disable_target_info=True, scope_info_enabled=False, registry=self.shown)
        self._metric = Metric(name, "", unit, Gauge([NumberDataPoint({label: "x"}, 0, 0, 1)]))

    def family(self) -> Family:
        """Return what it makes of the gauge."""
        provider = MeterProvider([self], shutdown_on_exit=False)
        provider.get_meter("test").create_gauge("any").set(1)  # so that there is something to receive
        (family,) = self.shown.collect()
        return family

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: object) -> None:
        del metrics_data, timeout_millis
        scope = ScopeMetrics(InstrumentationScope(""), [self._metric], "")
        super()._receive_metrics(MetricsData([ResourceMetrics(Resource({}), [scope], "")]))


@given(NAMES)
def test_a_metric_s_name(name: str) -> None:
    """Leading digits and characters that it may not have."""
    assert prometheus_name(name) == Exporter(name).family().name


@given(NAMES)
def test_a_label_s_name(name: str) -> None:
    """The same, without colons."""
    assert [label_name(name)] == list(Exporter("n", label=name).family().samples[0].labels)


@given(UNITS)
def test_a_unit(unit: str) -> None:
    """Words for those that are known, rates, annotations."""
    assert unit_name(unit) == Exporter("n", unit).family().unit


@pytest.mark.parametrize(
    ("unit", "word"), [("By/s", "bytes_per_second"), ("{order}", ""), ("1", ""), ("m/mo", "meters_per_month")]
)
def test_a_unit_by_example(unit: str, word: str) -> None:
    """What a newcomer would look up."""
    assert unit_name(unit) == word
