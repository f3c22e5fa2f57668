"""From the SDK's data points to prometheus_client's families, exemplars included.

`PrometheusReader` stands in for the one of opentelemetry-exporter-prometheus, which drops exemplars; names, units and
labels follow that package's rules. Metrics of one name and type are one family, whichever meters they come from; one
of another type is left out and logged once, for two families of one name are no valid exposition. So are
exponential histograms, which neither text format can carry.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any

from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricReader,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from .._private import OtelComponentTypeValues
from ..metrics.exemplars import Exemplars
from ..metrics.naming import label_name, prometheus_name, unit_name
from ..metrics.observable import LazyDataPoints, Series, label_text
from .text_format import PrerenderedGauge, sample_prefix

_logger = logging.getLogger(__name__)
_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class PrometheusReader(MetricReader):
    """Reads a meter provider at each scrape; one scrape at a time.

    Args:
        exemplars: what its counters and buckets show.
        resource: what produces the telemetry.
        resource_labels: resource attributes that become labels of each series.
        target_info: whether it gives the resource as ``target_info``.
    """

    def __init__(
        self, exemplars: Exemplars, resource: Resource, *, resource_labels: Sequence[str] = (), target_info: bool
    ) -> None:
        super().__init__(
            otel_component_type=OtelComponentTypeValues.PROMETHEUS_HTTP_TEXT_METRIC_EXPORTER,
        )
        self._exemplars = exemplars
        self._target_info = _target_info(resource.attributes) if target_info else None
        self._labels = {name: label_text(resource.attributes[name]) for name in resource_labels}
        self._produce: Callable[[], Iterable[Metric]] = tuple
        self._received: list[MetricsData] = []
        self._refused: set[str] = set()
        self._prefixes: dict[str, dict[Series, str]] = {}

    def add_producer(self, produce: Callable[[], Iterable[Metric]]) -> None:
        """Read these metrics as well, as a MetricProducer of OpenTelemetry's specification gives them."""
        self._produce = produce

    def families(self) -> Iterable[Family]:
        """Collect now."""
        self.collect()
        received, self._received = self._received, []
        gathered: dict[str, _FamilyBuilder] = {}
        for metric in (
            metric
            for data in received
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ):
            self._gather(metric, gathered)
        for metric in self._produce():
            self._gather(metric, gathered)
        if self._target_info is not None:
            yield self._target_info
        for each in gathered.values():
            yield self._family(each)

    def _family(self, gathered: "_FamilyBuilder") -> Family:
        made, given = gathered.made, gathered.given
        if len(given) == 1 and isinstance(given[0], LazyDataPoints) and isinstance(made, GaugeMetricFamily):
            return self._read_gauge(made, given[0].values)
        return gathered.family(self._labels, self._exemplars)

    def _read_gauge(self, made: Family, values: Mapping[Series, float]) -> Family:
        prefixes = self._prefixes.setdefault(made.name, {})
        if len(prefixes) > 2 * len(values):
            prefixes = self._prefixes[made.name] = {}  # most of them went
        if not values.keys() <= prefixes.keys():
            for series in values.keys() - prefixes.keys():
                prefixes[series] = sample_prefix(made.name, self._labels_of(series))
        return PrerenderedGauge(made, values, prefixes, self._labels_of)

    def _labels_of(self, series: Series) -> dict[str, str]:
        return {**self._labels, **_labels(series.attributes)}

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: object) -> None:
        del timeout_millis
        self._received.append(metrics_data)

    def shutdown(self, timeout_millis: float = 0, **_: object) -> None:
        """Nothing to do: the registry goes with its process."""

    def _gather(self, metric: Metric, gathered: dict[str, "_FamilyBuilder"]) -> None:
        kind = _kind(metric)
        unit = unit_name(metric.unit or "")
        if kind is not None:
            # The constructor adds the unit to the name, and takes the suffix of a counter away.
            family = kind(prometheus_name(metric.name), metric.description or "", labels=(), unit=unit)
            known = gathered.setdefault(family.name, _FamilyBuilder(family))
            if known.made.type == family.type:
                known.given.append(metric.data.data_points)
                return
        if metric.name not in self._refused:
            self._refused.add(metric.name)
            _logger.warning("%s is not exported: a %s of that name cannot be", metric.name, type(metric.data).__name__)


class ReaderCollector(Collector):
    """A `PrometheusReader` in a registry."""

    def __init__(self, reader: PrometheusReader) -> None:
        self._reader = reader

    def collect(self) -> Iterable[Family]:
        """Return the families of one scrape."""
        return self._reader.families()


@dataclass(slots=True)
class _FamilyBuilder:
    """One family before its labels are known: every series of it shall have the same names."""

    made: _Family
    given: list[Iterable[Any]] = field(default_factory=list)

    def family(self, labels: Mapping[str, str], exemplars: Exemplars) -> Family:
        rows = [({**labels, **_labels(point.attributes or {})}, point) for points in self.given for point in points]
        names = sorted({name for own, _ in rows for name in own})
        made = type(self.made)(self.made.name, self.made.documentation, labels=names, unit=self.made.unit)
        for own, point in rows:
            values = [own.get(name, "") for name in names]
            series = (made.name, *own.items())
            if isinstance(made, GaugeMetricFamily):
                made.add_metric(values, point.value)
            elif isinstance(made, CounterMetricFamily):
                made.add_metric(values, point.value, exemplar=_exemplar(series, point, exemplars))
            else:
                made.add_metric(values, _buckets(series, point, exemplars), point.sum)
        return made


def _kind(metric: Metric) -> type[_Family] | None:
    match metric.data:
        case Sum(is_monotonic=True):
            return CounterMetricFamily
        case Sum() | Gauge():
            return GaugeMetricFamily
        case Histogram():
            return HistogramMetricFamily
    return None


def _labels(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {_label(name): label_text(value) for name, value in attributes.items()}


@lru_cache(maxsize=1024)
def _label(name: str) -> str:
    return label_name(name)


def _exemplar(series: tuple[object, ...], point: NumberDataPoint, exemplars: Exemplars) -> Exemplar | None:
    for measured in point.exemplars:
        exemplars.offer(series, measured)
    return exemplars.current(series)


def _buckets(series: tuple[object, ...], point: HistogramDataPoint, exemplars: Exemplars) -> list[tuple[Any, ...]]:
    bounds = [*point.explicit_bounds, float("inf")]
    for measured in point.exemplars:
        exemplars.offer((*series, bounds[bisect_left(bounds, measured.value)]), measured)
    counts = accumulate(point.bucket_counts)
    return [
        (_bound(bound), count, exemplars.current((*series, bound))) for bound, count in zip(bounds, counts, strict=True)
    ]


@lru_cache(maxsize=1024)
def _bound(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]


def _target_info(attributes: Mapping[str, Any]) -> Family:
    info = InfoMetricFamily("target", "Target metadata")
    info.add_metric([], {label_name(name): label_text(value) for name, value in attributes.items()})
    return info
