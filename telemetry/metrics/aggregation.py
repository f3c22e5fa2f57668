"""Aggregates what is recorded at each request: sums and distributions, without the price of the SDK's way there.

OpenTelemetry's API stands in front and its data points come out, so neither an instrumentation nor a reader notices.
The SDK (1.45.2) cleans, copies, filters and hashes the attributes of every measurement; here a measurement finds its
series by the values of the attributes that are kept (docs/decisions/telemetry-cost.md). The rest is as the SDK does
it: cumulative, explicit buckets, `MAX_SERIES` sets of attributes and then the overflow, the newest exemplar of a
bucket. `telemetry.metrics.provider` makes the instruments.
"""

import json
import logging
import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from time import time_ns
from typing import Any, Generic, TypeVar

from opentelemetry import metrics
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as Distribution
from opentelemetry.util.types import Attributes

from .exemplars import make_exemplar
from .specs import MAX_SERIES

DEFAULT_BUCKETS = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
"""The SDK's own, for a histogram that says nothing of its buckets."""

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_OVERFLOW = {"otel.metric.overflow": True}
_NOTHING: Mapping[str, Any] = {}
_UNKNOWN = math.nan  # the least and the greatest value are not kept: no text format has them
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is kept of an instrument, as a View of the SDK says it.

    Attributes:
        attributes: these; None keeps all.
        buckets: the bounds; None keeps those that the instrument was made with.
        keeps: says of an attribute whether it is kept, where not all are named beforehand.
    """

    attributes: tuple[str, ...] | None = None
    buckets: tuple[float, ...] | None = None
    keeps: Callable[[str], bool] | None = None

    def clean(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what is kept of a measurement's attributes."""
        names, keeps = self.attributes, self.keeps
        if names is not None:
            return {name: attributes[name] for name in names if name in attributes}
        return attributes if keeps is None else {name: value for name, value in attributes.items() if keeps(name)}


class _SumSeries:
    """One series of a counter."""

    __slots__ = ("attributes", "exemplar", "start", "value")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = attributes
        self.start = time_ns()
        self.value: float = 0
        self.exemplar: Exemplar | None = None


class _HistogramSeries:
    """One series of a histogram."""

    __slots__ = ("attributes", "counts", "exemplars", "start", "sum")

    def __init__(self, attributes: Mapping[str, Any], buckets: int) -> None:
        self.attributes = attributes
        self.start = time_ns()
        self.sum: float = 0
        self.counts = [0] * buckets
        self.exemplars: dict[int, Exemplar] = {}


_Series = TypeVar("_Series", _SumSeries, _HistogramSeries)


class _SeriesTable(Generic[_Series]):
    """The series of one instrument; its lock is held by whoever uses them."""

    def __init__(self, view: View, make: Callable[[Mapping[str, Any]], _Series]) -> None:
        self.lock = threading.Lock()
        self.by_name: dict[str, _Series] = {}
        self._view = view
        self._attributes, self._keeps = view.attributes, view.keeps
        self._make: Callable[[Mapping[str, Any]], _Series] = make
        self._known: dict[Hashable, _Series] = {}

    def get(self, given: Attributes) -> _Series:
        """Return the series of these attributes."""
        attributes: Mapping[str, Any] = given or _NOTHING
        if self._keeps is not None:
            attributes = self._view.clean(attributes)
        if self._attributes is None:
            # With the types, for 1, 1.0 and True are equal and differ as labels.
            key: Hashable = (*attributes.items(), *map(type, attributes.values()))
        else:
            key = tuple(map(attributes.get, self._attributes))
        try:
            return self._known[key]
        except KeyError:
            found, is_own = self._look_up(attributes)
            if is_own and len(self._known) < 2 * MAX_SERIES:  # several keys may be cleaned to the same attributes
                self._known[key] = found
            return found
        except TypeError:  # a list, which is no key
            return self._look_up(attributes)[0]

    def _look_up(self, attributes: Mapping[str, Any]) -> tuple[_Series, bool]:
        """Return the series, made if need be; and whether it is not that of the overflow."""
        clean = self._view.clean(dict(BoundedAttributes(attributes=attributes)))
        name = json.dumps(clean, sort_keys=True, default=str)
        if name in self.by_name:
            return self.by_name[name], True
        if len(self.by_name) < MAX_SERIES:
            self.by_name[name] = self._make(clean)
            return self.by_name[name], True
        if "" not in self.by_name:
            self.by_name[""] = self._make(_OVERFLOW)
        return self.by_name[""], False


Tell = Callable[[float, Attributes, Context | None], None]


class _Told:
    """Others to whom an instrument's measurements are told: the same ones of the host's meter provider."""

    _tells: tuple[Tell, ...] = ()
    _told = View()

    def tell(self, tell: Tell, view: View) -> None:
        """Tell somebody of each measurement from now on; all are told of the attributes that this view keeps."""
        self._tells, self._told = (*self._tells, tell), view

    def _tell(self, amount: float, attributes: Attributes, context: Context | None) -> None:
        kept = self._told.clean(attributes or _NOTHING)
        for tell in self._tells:
            tell(amount, kept, context)

    def _telling(self, bound: Callable[[float], None], attributes: Attributes) -> Callable[[float], None]:
        if not self._tells:
            return bound

        def told(amount: float) -> None:
            bound(amount)
            self._tell(amount, attributes, None)

        return told


class _SumInstrument(_Told):
    """What a counter and an up-down counter share."""

    def __init__(self, name: str, unit: str, description: str, view: View, least: float) -> None:
        self._name, self._unit, self._description = name, unit, description
        self._least = least
        self._series: _SeriesTable[_SumSeries] = _SeriesTable(view, _SumSeries)

    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        """Add to the series of these attributes."""
        if not self._least <= amount < math.inf:
            _logger.warning("%s is not added to %s", amount, self._name)
            return
        exemplar = make_exemplar(amount, context) if self._least == 0 else None  # a gauge cannot show one
        series = self._series
        with series.lock:
            total = series.get(attributes)
            total.value += amount
            if exemplar is not None:
                total.exemplar = exemplar
        if self._tells:
            self._tell(amount, attributes, context)

    def bind(self, attributes: Attributes) -> Callable[[float], None]:
        """Add to the series of these attributes, looked up once; for what no recorded span measures."""
        series = self._series
        with series.lock:
            total = series.get(attributes)

        def add(amount: float) -> None:
            with series.lock:
                total.value += amount

        return self._telling(add, attributes)

    def metric(self, *, take_exemplars: bool = True) -> Metric:
        """Return all series as they are now; each exemplar is given once, to whoever takes them."""
        now = time_ns()
        points = []
        with self._series.lock:
            for total in self._series.by_name.values():
                exemplars = [total.exemplar] if total.exemplar else []
                points.append(NumberDataPoint(total.attributes, total.start, now, total.value, exemplars))
                if take_exemplars:
                    total.exemplar = None
        data = Sum(points, _CUMULATIVE, is_monotonic=self._least == 0)
        return Metric(self._name, self._description, self._unit, data)


class Counter(_SumInstrument, metrics.Counter):
    """A total that only grows."""

    def __init__(self, name: str, unit: str, description: str, view: View) -> None:
        super().__init__(name, unit, description, view, 0)


class UpDownCounter(_SumInstrument, metrics.UpDownCounter):
    """A sum that goes up and down."""

    def __init__(self, name: str, unit: str, description: str, view: View) -> None:
        super().__init__(name, unit, description, view, -math.inf)


class Histogram(_Told, metrics.Histogram):
    """A distribution."""

    def __init__(self, name: str, unit: str, description: str, view: View) -> None:
        self._name, self._unit, self._description = name, unit, description
        bounds = view.buckets or DEFAULT_BUCKETS
        self._bounds = bounds
        self._series: _SeriesTable[_HistogramSeries] = _SeriesTable(
            view, lambda attributes: _HistogramSeries(attributes, len(bounds) + 1)
        )

    def record(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        """Record a value in the series of these attributes."""
        if not 0 <= amount < math.inf:
            _logger.warning("%s is not recorded by %s", amount, self._name)
            return
        bucket = bisect_left(self._bounds, amount)
        exemplar = make_exemplar(amount, context)
        series = self._series
        with series.lock:
            distribution = series.get(attributes)
            distribution.sum += amount
            distribution.counts[bucket] += 1
            if exemplar is not None:
                distribution.exemplars[bucket] = exemplar
        if self._tells:
            self._tell(amount, attributes, context)

    def bind(self, attributes: Attributes) -> Callable[[float], None]:
        """Record in the series of these attributes, looked up once; for what no recorded span measures."""
        bounds, series = self._bounds, self._series
        with series.lock:
            distribution = series.get(attributes)

        def record(amount: float) -> None:
            with series.lock:
                distribution.sum += amount
                distribution.counts[bisect_left(bounds, amount)] += 1

        return self._telling(record, attributes)

    def metric(self, *, take_exemplars: bool = True) -> Metric:
        """Return all series as they are now; each exemplar is given once, to whoever takes them."""
        with self._series.lock:
            points = [self._point(each, take_exemplars=take_exemplars) for each in self._series.by_name.values()]
        return Metric(self._name, self._description, self._unit, Distribution(points, _CUMULATIVE))

    def _point(self, each: _HistogramSeries, *, take_exemplars: bool) -> HistogramDataPoint:
        counts, exemplars = list(each.counts), list(each.exemplars.values())
        if take_exemplars:
            each.exemplars = {}
        return HistogramDataPoint(
            each.attributes,
            each.start,
            time_ns(),
            sum(counts),
            each.sum,
            counts,
            self._bounds,
            _UNKNOWN,
            _UNKNOWN,
            exemplars,
        )
