"""Instruments that are read at a scrape: what their callbacks give now, and nothing else.

The SDK (1.45.2) makes a measurement of each observation, cleans and hashes its attributes and never forgets them: of
5 000 series, that was half of a scrape, and after 2 000 products in the life of a process all stock would have been
one overflow series. A sum or gauge that is read needs no memory, so here it has none.
"""

import logging
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import islice
from time import time_ns

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Metric, NumberDataPoint, Sum

from telemetry.instruments import MOST_SERIES

Callback = Callable[[CallbackOptions], Iterable[Observation]]
_logger = logging.getLogger(__name__)


class Observed:
    """What all of them share."""

    def __init__(self, name: str, unit: str, description: str, callbacks: Sequence[Callback]) -> None:
        self._name, self._unit, self._description = name, unit, description
        self._callbacks = list(callbacks)

    def metric(self) -> Metric:
        """What it shows now; of two observations with the same attributes the later one, `MOST_SERIES` at most."""
        now = time_ns()
        points: dict[Hashable, NumberDataPoint] = {}
        for callback in self._callbacks:
            try:
                for observation in islice(callback(CallbackOptions()), MOST_SERIES):
                    attributes = observation.attributes or {}
                    if math.isfinite(observation.value):
                        points[(*attributes.items(),)] = NumberDataPoint(attributes, now, now, observation.value)
            except Exception:  # telemetry never breaks its host
                _logger.exception("%s could not be read", self._name)
        return Metric(self._name, self._description, self._unit, self._data(list(points.values())))

    def _data(self, points: list[NumberDataPoint]) -> Sum | Gauge:
        return Gauge(points)


class ObservedGauge(Observed, metrics.ObservableGauge):
    """A value as it is now."""


class ObservedCounter(Observed, metrics.ObservableCounter):
    """A total that somebody else keeps."""

    def _data(self, points: list[NumberDataPoint]) -> Sum | Gauge:
        return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)


class ObservedUpDownCounter(Observed, metrics.ObservableUpDownCounter):
    """A sum that somebody else keeps, and that may fall."""

    def _data(self, points: list[NumberDataPoint]) -> Sum | Gauge:
        return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=False)
