"""Instruments that are read at a scrape: what their callbacks give now, and nothing else.

The SDK (1.45.2) makes a measurement of each observation, cleans and hashes its attributes and never forgets them: of
5 000 series, that was half of a scrape, and after 2 000 products in the life of a process all stock would have been
one overflow series. A sum or gauge that is read needs no memory, so here it has none.

What a declared instrument reads (`Observations`) stays a value by `Series` until a reader asks for data points: the
one of `telemetry.prometheus.reader` does not.
"""

import json
import logging
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from time import time_ns
from typing import overload

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Metric, NumberDataPoint, Sum

from ..failures import FailureLogger
from .aggregation import View
from .specs import MAX_SERIES, AttributeValues, InstrumentSpec

Callback = Callable[[CallbackOptions], Iterable[Observation]]
_logger = logging.getLogger(__name__)


def label_text(value: object) -> str:
    """Return an attribute's value as a label shows it."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    # Half a surrogate pair has no UTF-8, and would cost the whole scrape.
    return text if text.isascii() else text.encode(errors="replace").decode()


class Series:
    """One series of an instrument: the same object for as long as it is read, so that others may keep its text."""

    __slots__ = ("attributes",)

    def __init__(self, attributes: AttributeValues) -> None:
        self.attributes: AttributeValues = dict(attributes)


class SeriesCache:
    """The series that a declared instrument has read lately; attributes in another order are the same series."""

    def __init__(self, spec: InstrumentSpec) -> None:
        self._spec = spec
        self._distinct: dict[tuple[str, ...], Series] = {}
        self.by_items: dict[Hashable, Series] = {}

    def make_room(self) -> None:
        """Forget them all when they are many more than the instrument may show, as those that went are among them."""
        if max(len(self._distinct), len(self.by_items)) > 2 * self._spec.limit:
            self._distinct.clear()
            self.by_items.clear()

    def add(self, attributes: AttributeValues) -> Series:
        """Return the series of attributes that are as declared: one for all that a scrape cannot tell apart."""
        labels = tuple([label_text(attributes[name]) for name in self._spec.attributes])
        series = self._distinct.get(labels)
        if series is None:
            series = self._distinct[labels] = Series(attributes)
        # 1 and True are equal and not the same label, so only text may be looked up by its value.
        if all(isinstance(value, str) for value in attributes.values()):
            self.by_items[(*attributes.items(),)] = series
        return series


class Observations:
    """What one call of a callback gave: finite values, each series once, all with the same attribute names."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[Series, float] = {}

    def __iter__(self) -> Iterator[Observation]:
        return (Observation(value, series.attributes) for series, value in self.values.items())


class LazyDataPoints(Sequence[NumberDataPoint]):
    """The data points of a reading, made for whoever looks at them."""

    def __init__(self, values: Mapping[Series, float]) -> None:
        self.values = values
        self._now = time_ns()

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[NumberDataPoint]:
        now = self._now
        return (NumberDataPoint(series.attributes, now, now, value) for series, value in self.values.items())

    @overload
    def __getitem__(self, index: int) -> NumberDataPoint: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[NumberDataPoint]: ...
    def __getitem__(self, index: int | slice) -> NumberDataPoint | Sequence[NumberDataPoint]:
        return list(self)[index]


class ObservableInstrument:
    """What all of them share."""

    _adds_up = False  # two observations of one callback that a view makes the same series

    def __init__(
        self, name: str, unit: str, description: str, callbacks: Sequence[Callback], view: View | None = None
    ) -> None:
        self._name, self._unit, self._description = name, unit, description
        self._callbacks = list(callbacks)
        self._view = view or View()
        self._failure_logger = FailureLogger(_logger)

    def metric(self, *, take_exemplars: bool = True) -> Metric:
        """Return what it shows now; of two observations of the same attributes the later, `MAX_SERIES` at most."""
        del take_exemplars  # there are none
        return Metric(self._name, self._description, self._unit, self._data(self._points()))

    def _points(self) -> Sequence[NumberDataPoint]:
        now = time_ns()
        points: dict[Hashable, NumberDataPoint] = {}
        adds_up = self._adds_up and self._view.keeps is not None
        for callback in self._callbacks:
            try:
                given = callback(CallbackOptions())
                if isinstance(given, Observations) and len(self._callbacks) == 1 and self._view.keeps is None:
                    return LazyDataPoints(given.values)
                seen: set[Hashable] = set()
                for observation in islice(given, MAX_SERIES):
                    attributes = self._view.clean(observation.attributes or {})
                    if math.isfinite(observation.value):
                        key = (*attributes.items(),)
                        before = points[key].value if adds_up and key in seen else 0
                        seen.add(key)
                        points[key] = NumberDataPoint(attributes, now, now, before + observation.value)
            except Exception:  # telemetry never breaks its host
                self._failure_logger.exception("%s could not be read", self._name)
        return list(points.values())

    def _data(self, points: Sequence[NumberDataPoint]) -> Sum | Gauge:
        return Gauge(points)


class ObservableGauge(ObservableInstrument, metrics.ObservableGauge):
    """A value as it is now."""


class ObservableCounter(ObservableInstrument, metrics.ObservableCounter):
    """A total that somebody else keeps."""

    _adds_up = True

    def _data(self, points: Sequence[NumberDataPoint]) -> Sum | Gauge:
        return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)


class ObservableUpDownCounter(ObservableInstrument, metrics.ObservableUpDownCounter):
    """A sum that somebody else keeps, and that may fall."""

    _adds_up = True

    def _data(self, points: Sequence[NumberDataPoint]) -> Sum | Gauge:
        return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=False)
