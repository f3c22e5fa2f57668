"""From OpenTelemetry's data points to prometheus_client's families: by its own exporter, and with what that lacks.

`PrometheusReader` is the reader of opentelemetry-exporter-prometheus, which translates everything here. Four things are
added. Exemplars. Metrics of one name and type are one family, whichever meters they come from; one of another type is
left out and logged once, for two families of one name are no valid exposition. What the SDK has not aggregated is
read, too (`PrometheusReader.add_producer`). And a gauge that is read keeps the text of its series between scrapes.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from inspect import signature
from itertools import chain, islice
from typing import Any, TypeAlias

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from ..metrics.exemplars import Exemplars
from ..metrics.naming import label_name, prometheus_name, unit_name
from ..metrics.observable import LazyDataPoints, Series, label_text
from .text_format import PrerenderedGauge, sample_prefix

_logger = logging.getLogger(__name__)
_SCOPE = InstrumentationScope("")
_FILTERS = "resource_attribute_filter" in signature(PrometheusMetricReader).parameters
"""Whether the exporter makes labels of resource attributes; that of OpenTelemetry 1.44 does not."""
_NOTHING = MetricsData([])
_Point: TypeAlias = NumberDataPoint | HistogramDataPoint


class PrometheusReader(PrometheusMetricReader):
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
        self._exporter = CollectorRegistry()  # what the exporter makes of what it is given
        options: dict[str, Any] = {}
        if _FILTERS:
            options["resource_attribute_filter"] = frozenset(resource_labels).__contains__
        super().__init__(
            disable_target_info=True,  # it would stay as it was at the first scrape
            scope_info_enabled=False,
            registry=self._exporter,
            **options,
        )
        self._exemplars = exemplars
        self._resource = resource
        self._resource_labels = resource_labels
        self._with_target_info = target_info
        self._labels: dict[str, str] = {}
        self._produce: Callable[[], Iterable[Metric]] = tuple
        self._groups: dict[str, _Group] | None = {}  # None while a scrape waits for them
        self._refused: set[str] = set()
        self._prefixes: dict[str, dict[Series, str]] = {}

    def add_producer(self, produce: Callable[[], Iterable[Metric]]) -> None:
        """Read these metrics as well, as a MetricProducer of OpenTelemetry's specification gives them."""
        self._produce = produce

    def families(self) -> Iterator[Family]:
        """Collect now."""
        labels = _labels({name: self._resource.attributes[name] for name in self._resource_labels})
        if labels != self._labels:
            self._labels = labels
            self._prefixes.clear()
        self._groups = None
        translated = list(self._exporter.collect())
        if self._groups is None:  # the provider had nothing, and so it said nothing
            self._receive_metrics(_NOTHING)
            translated = list(self._exporter.collect())
        groups: dict[str, _Group] = self._groups or {}
        self._groups = {}
        if self._with_target_info:
            yield InfoMetricFamily("target", "Target metadata", value=_labels(self._resource.attributes))
        for group in groups.values():
            if group.read is not None:
                yield self._read_gauge(group.family, group.read)
            else:
                yield self._with_exemplars(translated.pop(0), group.points)

    def shutdown(self, timeout_millis: float = 0, **_: object) -> None:
        """Nothing to do: the last figures of a provider that has ended may still be scraped."""

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: object) -> None:
        del timeout_millis
        if self._groups is not None:  # no scrape waits for it
            return
        groups = self._groups = {}
        scopes = chain.from_iterable(resource.scope_metrics for resource in metrics_data.resource_metrics)
        for metric in chain(chain.from_iterable(scope.metrics for scope in scopes), self._produce()):
            self._group(metric, groups)
        metrics = [group.metric(self._resource_labels) for group in groups.values() if group.read is None]
        super()._receive_metrics(
            MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(_SCOPE, metrics, "")], "")])
        )

    def _group(self, metric: Metric, groups: dict[str, "_Group"]) -> None:
        """Put a metric into the group of its family, if there can be one."""
        family = _empty_family(metric)
        if family is not None:
            known = groups.setdefault(family.name, _Group(family, metric))
            if known.family.type == family.type:
                known.given.append(metric.data.data_points)
                return
        if metric.name not in self._refused:
            self._refused.add(metric.name)
            _logger.warning("%s is not exported: a %s of that name cannot be", metric.name, type(metric.data).__name__)

    def _read_gauge(self, family: Family, values: Mapping[Series, float]) -> Family:
        prefixes = self._prefixes.setdefault(family.name, {})
        if len(prefixes) > 2 * len(values):
            prefixes = self._prefixes[family.name] = {}  # most of them went
        if not values.keys() <= prefixes.keys():
            for series in values.keys() - prefixes.keys():
                prefixes[series] = sample_prefix(family.name, self._labels_of(series))
        return PrerenderedGauge(family, values, prefixes, self._labels_of)

    def _labels_of(self, series: Series) -> dict[str, str]:
        return {**self._labels, **_labels(_beside(self._resource_labels, series.attributes))}

    def _with_exemplars(self, family: Family, points: Sequence[_Point]) -> Family:
        samples = family.samples
        if not _FILTERS and self._labels:
            samples[:] = [sample._replace(labels={**self._labels, **sample.labels}) for sample in samples]
        if family.type == "gauge":
            return family
        carriers = [place for place, sample in enumerate(samples) if sample.name.endswith(("_bucket", "_total"))]
        rest = iter(carriers)
        for point in points:
            bounds = point.explicit_bounds if isinstance(point, HistogramDataPoint) else ()
            own = list(islice(rest, len(bounds) + 1))  # a distribution has a sample for each bucket, a counter one
            for measured in point.exemplars:
                self._exemplars.offer(_key(samples[own[bisect_left(bounds, measured.value)]]), measured)
        if self._exemplars:
            for place in carriers:
                exemplar = self._exemplars.current(_key(samples[place]))
                if exemplar is not None:
                    samples[place] = samples[place]._replace(exemplar=exemplar)
        return family


class ReaderCollector(Collector):
    """A `PrometheusReader` in a registry."""

    def __init__(self, reader: PrometheusReader) -> None:
        self._reader = reader

    def collect(self) -> Iterable[Family]:
        """Return the families of one scrape."""
        return self._reader.families()


@dataclass(slots=True)
class _Group:
    """The metrics of one family; the first of them says what it means."""

    family: Family
    first: Metric
    given: list[Sequence[Any]] = field(default_factory=list)

    @property
    def read(self) -> Mapping[Series, float] | None:
        """What was read, if nothing else is in the family and it is a gauge."""
        only = self.given[0] if len(self.given) == 1 else None
        return only.values if isinstance(only, LazyDataPoints) and self.family.type == "gauge" else None

    @property
    def points(self) -> list[_Point]:
        """Those of all."""
        return list(chain.from_iterable(self.given))

    def metric(self, taken: Collection[str]) -> Metric:
        """Return them as one; an attribute of a name that is taken becomes ``exported_...``, as in Prometheus."""
        given: Any = self.first.data  # of whichever type, the points of all are of it
        points = self.points
        if isinstance(given, Histogram):
            taken = (*taken, "le")
        for place, point in enumerate(points):
            if any(name in (point.attributes or ()) for name in taken):
                points[place] = replace(point, attributes=_beside(taken, point.attributes or {}))
        return replace(self.first, data=replace(given, data_points=points))


def _empty_family(metric: Metric) -> Family | None:
    """Return what the exporter makes of a metric, without its samples; None when that is nothing."""
    match metric.data:
        case Sum(is_monotonic=True):
            kind: type[Family] = CounterMetricFamily
        case Sum() | Gauge():
            kind = GaugeMetricFamily
        case Histogram():
            kind = HistogramMetricFamily
        case _:
            return None
    # The constructor adds the unit to the name, and takes the suffix of a counter away.
    name, unit = prometheus_name(metric.name), unit_name(metric.unit or "")
    return kind(name, metric.description or "", labels=(), unit=unit)  # type: ignore[call-arg]


def _beside(taken: Collection[str], attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"exported_{name}" if name in taken else name: value for name, value in attributes.items()}


def _labels(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {_label(name): label_text(value) for name, value in attributes.items()}


@lru_cache(maxsize=1024)
def _label(name: str) -> str:
    return label_name(name)


def _key(sample: Sample) -> tuple[object, ...]:
    return (sample.name, *sample.labels.items())
