"""The SDK's Views, on instruments that are aggregated here: what they make of one is asked of the SDK itself.

A View shows nothing of what it holds. So the SDK is given the Views, an instrument as ours and one measurement, once
for each instrument, and what its reader gives tells the streams that there are: names, descriptions, bounds, and none
for one that is dropped. Which attributes are kept is asked when an attribute is first seen.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, Histogram, InMemoryMetricReader, Metric, Sum
from opentelemetry.sdk.metrics.view import View as SdkView

from .aggregation import View
from .specs import MAX_SERIES

_UNKNOWN_ATTRIBUTE = "truemeter.not.an.attribute"
_DATA = {"histogram": Histogram, "observable_gauge": Gauge}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument that Views are looked up for.

    Attributes:
        kind: what a meter's method to create it is called after ``create_``.
        meter: the name of its meter.
        name: its own.
        unit: its unit.
        description: what it is.
    """

    kind: str
    meter: str
    name: str
    unit: str
    description: str


@dataclass(frozen=True, slots=True)
class Stream:
    """What becomes of an instrument's measurements.

    Attributes:
        name: of the metric.
        description: of the metric.
        view: what is kept.
    """

    name: str
    description: str
    view: View


class Views:
    """All Views of a meter provider.

    Args:
        views: the SDK's.

    Attributes:
        sdk: the same.

    Raises:
        TypeError: one is none of the SDK's.
    """

    def __init__(self, views: Sequence[SdkView] = ()) -> None:
        self.sdk = tuple(views)
        for view in self.sdk:
            if not isinstance(view, SdkView):
                raise TypeError(f"views are those of opentelemetry.sdk.metrics.view, and {view!r} is none")

    def streams(self, instrument: Instrument, base: View) -> list[Stream]:
        """Return what an instrument's measurements become; nothing where they are dropped.

        Args:
            instrument: the instrument.
            base: what is kept of it without any View.
        """
        if not self.sdk:
            return [Stream(instrument.name, instrument.description, base)]
        found = self._ask(instrument, base.buckets, {_UNKNOWN_ATTRIBUTE: True})
        return [self._stream(instrument, base, metric, place) for place, metric in enumerate(found)]

    def _stream(self, instrument: Instrument, base: View, metric: Metric, place: int) -> Stream:
        buckets = base.buckets
        [point] = metric.data.data_points
        if not isinstance(metric.data, _DATA.get(instrument.kind, Sum)):
            _logger.error(
                "%s stays as it is: a %s is not made here, give metric_readers= for one",
                instrument.name,
                type(metric.data).__name__,
            )
        elif isinstance(metric.data, Histogram):
            buckets = tuple(getattr(point, "explicit_bounds", ()))
        view = replace(base, buckets=buckets)
        if _UNKNOWN_ATTRIBUTE not in (point.attributes or {}):  # it keeps but some
            keeps = self._keeps(instrument, place)
            if base.attributes is None:
                view = replace(view, keeps=keeps)
            else:
                view = replace(view, attributes=tuple(filter(keeps, base.attributes)))
        return Stream(metric.name, metric.description or "", view)

    def _keeps(self, instrument: Instrument, place: int) -> Callable[[str], bool]:
        known: dict[str, bool] = {}

        def keeps(attribute: str) -> bool:
            kept = known.get(attribute)
            if kept is None:
                [point] = self._ask(instrument, None, {attribute: True})[place].data.data_points
                kept = attribute in (point.attributes or {})
                if len(known) < MAX_SERIES:
                    known[attribute] = kept
            return kept

        return keeps

    def _ask(
        self, instrument: Instrument, buckets: Sequence[float] | None, attributes: Mapping[str, bool]
    ) -> list[Metric]:
        """Return what the SDK makes of one measurement."""
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], views=self.sdk, shutdown_on_exit=False)
        create: Any = getattr(provider.get_meter(instrument.meter), f"create_{instrument.kind}")
        described = {"unit": instrument.unit, "description": instrument.description}
        if instrument.kind.startswith("observable_"):
            create(instrument.name, [lambda _: [Observation(1, attributes)]], **described)
        elif instrument.kind == "histogram":
            create(instrument.name, explicit_bucket_boundaries_advisory=buckets, **described).record(1, attributes)
        else:
            create(instrument.name, **described).add(1, attributes)
        data = reader.get_metrics_data()
        provider.shutdown()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return [metric for scope in scopes if scope.scope.name == instrument.meter for metric in scope.metrics]
