"""Metrics by OTLP: once in an interval the same figures as at ``/metrics`` go to a collector, cumulative or as deltas.

A delta is counted from the last batch that the collector took, so what it did not take is in the next one: nothing is
lost, and nothing counts twice that was answered. Exemplars stay with ``/metrics``.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from time import time_ns
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ..settings import Temporality
from .health import MonitoredExporter

Source = Callable[[], Iterable[Metric]]
_Point = NumberDataPoint | HistogramDataPoint
_CUMULATIVE, _DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
_SCOPE = InstrumentationScope("telemetry")
_logger = logging.getLogger(__name__)


class MonitoredMetricExporter(MonitoredExporter[ResourceMetrics, MetricExportResult]):
    """Of metrics."""

    def __init__(self, exporter: MetricExporter) -> None:
        super().__init__(_Batches(exporter), MetricExportResult.SUCCESS, MetricExportResult.FAILURE, "metric_exporter")


class _Batches:
    """A metric exporter that takes a batch as those of spans and log lines do."""

    def __init__(self, exporter: MetricExporter) -> None:
        self._exporter = exporter

    def export(self, batch: Sequence[ResourceMetrics], /) -> MetricExportResult:
        return self._exporter.export(MetricsData(batch))

    def shutdown(self) -> None:
        self._exporter.shutdown()


class PeriodicMetricExport:
    """Sends metrics once in an interval, and once more at the end.

    Args:
        sources: give the metrics as they are now, cumulative; one that exports nothing now gives none.
        resource: what produces them.
        make_exporter: makes what takes them; once for each time that it begins.
        interval_seconds: between two batches.
        temporality: what sums that only grow, and histograms, are sent as.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        resource: Resource,
        make_exporter: Callable[[], MonitoredMetricExporter],
        interval_seconds: float,
        temporality: Temporality,
    ) -> None:
        self.exporter = make_exporter()
        self._make_exporter = make_exporter
        self._sources = sources
        self._resource = resource
        self._interval_seconds = interval_seconds
        self._temporality = temporality
        self._begun = time_ns()
        self._taken: dict[str, _Point] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = self._new_thread()

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="telemetry-metrics", daemon=True)

    def start(self) -> None:
        """Begin to send; again, once it has ended."""
        if self._stopped.is_set():
            self._stopped.clear()
            self.exporter = self._make_exporter()
            self._thread = self._new_thread()
        self._thread.start()

    def flush(self) -> bool:
        """Send what there is, and return whether the collector took it."""
        with self._lock:
            now: dict[str, _Point] = {}
            metrics = [self._sent(metric, now) for source in self._sources for metric in source()]
            if not metrics:
                return True
            batch = ResourceMetrics(self._resource, [ScopeMetrics(_SCOPE, metrics, "")], "")
            taken = self.exporter.export([batch]) is MetricExportResult.SUCCESS
            if taken:
                self._taken.update(now)
            return taken

    def stop(self) -> None:
        """Send what is left, and end; waits for the collector."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self.flush()
        self.exporter.shutdown()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_seconds):
            try:
                self.flush()
            except Exception:  # telemetry never breaks its host, nor itself
                _logger.exception("metrics could not be sent")

    def _sent(self, metric: Metric, now: dict[str, _Point]) -> Metric:
        """Return a metric as it is sent, and note in ``now`` what its deltas end at."""
        data = metric.data
        if not isinstance(data, Histogram) and not (isinstance(data, Sum) and data.is_monotonic):
            return metric
        points: list[Any] = [self._begun_once(point) for point in data.data_points]
        is_delta = self._is_delta(data)
        if is_delta:
            points = [self._delta(metric, point, now) for point in points]
        temporality = _DELTA if is_delta else _CUMULATIVE
        if isinstance(data, Histogram):
            return replace(metric, data=Histogram(points, temporality))
        return replace(metric, data=Sum(points, temporality, is_monotonic=True))

    def _is_delta(self, data: Sum | Histogram) -> bool:
        if self._temporality == "lowmemory":  # of what somebody else keeps, no last value has to be kept here
            return not any(point.start_time_unix_nano == point.time_unix_nano for point in data.data_points)
        return self._temporality == "delta"

    def _begun_once(self, point: _Point) -> _Point:
        """Return a point with a beginning that stays, and without the extremes that nobody keeps."""
        if isinstance(point, HistogramDataPoint):
            return replace(point, min=None, max=None, exemplars=())  # type: ignore[arg-type]  # OTLP leaves them out
        is_read = point.start_time_unix_nano == point.time_unix_nano
        return replace(point, start_time_unix_nano=self._begun if is_read else point.start_time_unix_nano, exemplars=())

    def _delta(self, metric: Metric, point: _Point, now: dict[str, _Point]) -> _Point:
        attributes = json.dumps(dict(point.attributes or {}), sort_keys=True, default=str)
        key = f"{type(metric.data).__name__} {metric.name} {metric.unit} {attributes}"
        last = self._taken.get(key)
        now[key] = point
        if last is None:
            return point
        begun: dict[str, Any] = {"start_time_unix_nano": last.time_unix_nano}
        if isinstance(point, HistogramDataPoint) and isinstance(last, HistogramDataPoint):
            counts = [new - old for new, old in zip(point.bucket_counts, last.bucket_counts, strict=True)]
            return replace(
                point, bucket_counts=counts, count=point.count - last.count, sum=point.sum - last.sum, **begun
            )
        if isinstance(point, NumberDataPoint) and isinstance(last, NumberDataPoint) and point.value >= last.value:
            return replace(point, value=point.value - last.value, **begun)
        return point  # it began anew
