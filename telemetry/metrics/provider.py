"""The meter provider that the service and its instrumentations are given.

Its counters and histograms are those of `telemetry.metrics.aggregation`, its observable instruments those of
`telemetry.metrics.observable`; `AggregatingMeterProvider.metrics` gives what they show to a reader, as a MetricProducer
of the specification does. A gauge that is set, and a callback that is a generator, are left to the SDK inside.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, TypeVar, cast

from opentelemetry import metrics
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric

from .aggregation import Counter, Histogram, UpDownCounter, View
from .naming import check_name
from .observable import ObservableCounter, ObservableGauge, ObservableInstrument, ObservableUpDownCounter
from .views import Instrument, Views

_Recorded = TypeVar("_Recorded", Counter, UpDownCounter, Histogram)
_Observed = TypeVar("_Observed", bound=ObservableInstrument)
_Any = Counter | UpDownCounter | Histogram
_KINDS: Mapping[type, str] = {Counter: "counter", UpDownCounter: "up_down_counter", Histogram: "histogram"}
SCOPE = "telemetry"
"""The meter of what the package itself measures."""
_SDK = "otel.sdk."
_Callbacks = Sequence[metrics.CallbackT] | None


class AggregatingMeterProvider(metrics.MeterProvider):
    """A meter provider.

    Args:
        inside: makes all other instruments, and ends with this provider.
        kept: what is, by the instrument's name; everything for one that is not named, nothing where it says None.
        also: those that are there have the same instruments, and are told of all that these measure; of the SDK's own
            figures they are not.
        views: the service's own, of what is kept; those of the provider inside, too.
    """

    def __init__(
        self,
        inside: MeterProvider,
        kept: Mapping[str, View | None] | None = None,
        also: Sequence[metrics.MeterProvider | None] = (),
        views: Views | None = None,
    ) -> None:
        self._also = [provider for provider in also if provider is not None]
        self._inside = inside
        self._inside_reader: InMemoryMetricReader | None = None
        self._kept = kept or {}
        self._views = views or Views()
        self._instruments: dict[tuple[type, str, str], _Any | None] = {}
        self._streams: list[_Any] = []
        self._observed: list[ObservableInstrument] = []
        self._lock = threading.Lock()
        self.flush: Callable[[], bool] = lambda: True

    def get_meter(self, *args: Any, **options: Any) -> metrics.Meter:  # noqa: ANN401 - passed on as they are
        """Return a meter; one name, kind and unit is one instrument, whichever meters make it."""
        return _Meter(self._inside.get_meter(*args, **options), self)

    def shutdown(self) -> None:
        """End."""
        self._inside.shutdown()

    def metrics(self, *, take_exemplars: bool = True) -> Iterator[Metric]:
        """Return what there is now; each exemplar is given once, to whoever takes them."""
        with self._lock:
            # Those that are read first: what goes wrong with them is counted in the others.
            instruments = [*self._observed, *self._streams]
        for instrument in instruments:
            metric = instrument.metric(take_exemplars=take_exemplars)
            if metric.data.data_points:
                yield metric

    def read_inside(self) -> None:
        """Have `all_metrics` give what is made inside, too; call it before instruments are made there."""
        self._inside_reader = InMemoryMetricReader()
        self._inside.add_metric_reader(self._inside_reader)

    def all_metrics(self) -> Iterator[Metric]:
        """Return the same without exemplars, and with what is made inside."""
        yield from self.metrics(take_exemplars=False)
        data = None if self._inside_reader is None else self._inside_reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for metric in chain.from_iterable(scope.metrics for scope in resource.scope_metrics):
                if not metric.name.startswith(_SDK):  # what its readers say of themselves
                    yield metric

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Send what there is to the collector, if metrics go to one; return whether it took it."""
        del timeout_millis  # the exporter has one of its own
        return self.flush()

    def instrument(
        self,
        kind: type[_Recorded],
        name: str,
        unit: str,
        description: str,
        buckets: Sequence[float] | None = None,
        meter: str = SCOPE,
    ) -> _Recorded | None:
        """Return the instrument, or None when nothing is kept of it.

        Raises:
            ValueError: the name is none.
        """
        check_name(name)
        base = self._kept.get(name, View())
        if base is None:
            return None
        if base.buckets is None and buckets:
            base = replace(base, buckets=tuple(buckets))
        with self._lock:
            if (kind, name, unit) not in self._instruments:
                given = Instrument(_KINDS[kind], meter, name, unit, description)
                self._instruments[kind, name, unit] = self._make(kind, given, base)
            made = self._instruments[kind, name, unit]
        assert made is None or isinstance(made, kind)  # noqa: S101 - the kind is part of the key
        return made

    def _make(self, kind: type[_Recorded], given: Instrument, base: View) -> _Recorded | None:
        """Return what measurements are given to: the first stream, which tells the others and other providers."""
        streams = self._views.streams(given, base)
        if not streams:
            return None
        first, *others = (kind(stream.name, given.unit, stream.description, stream.view) for stream in streams)
        self._streams += (first, *others)
        for other in others:
            first.tell(other.record if isinstance(other, Histogram) else other.add, base)
        self._tell_others(first, given, base)
        return first

    def _tell_others(self, made: _Any, given: Instrument, base: View) -> None:
        name, unit, description = given.name, given.unit, given.description
        for meter in self.others(name, given.meter):
            if isinstance(made, Histogram):
                bounds = base.buckets
                other = meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)
                made.tell(other.record, base)
            elif isinstance(made, Counter):
                made.tell(meter.create_counter(name, unit, description).add, base)
            else:
                made.tell(meter.create_up_down_counter(name, unit, description).add, base)

    def others(self, name: str, meter: str) -> Sequence[Meter]:
        """Return the meters of other providers that have an instrument of this name and meter as well."""
        return () if name.startswith(_SDK) else [provider.get_meter(meter) for provider in self._also]

    def observe(self, kind: type[_Observed], given: Instrument, callbacks: Sequence[Any]) -> _Observed:
        """Return an instrument that is read, too.

        Raises:
            ValueError: the name is none.
        """
        check_name(given.name)
        for other in self.others(given.name, given.meter):
            getattr(other, f"create_{given.kind}")(given.name, callbacks, given.unit, given.description)
        made = [
            kind(stream.name, given.unit, stream.description, callbacks, stream.view)
            for stream in self._views.streams(given, View())
        ]
        with self._lock:
            self._observed += made
        return made[0] if made else kind(given.name, given.unit, given.description, ())


class _Meter(metrics.Meter):
    def __init__(self, inside: metrics.Meter, meters: AggregatingMeterProvider) -> None:
        super().__init__(inside.name, inside.version, inside.schema_url)
        self._inside = inside
        self._meters = meters

    def create_counter(self, name: str, unit: str = "", description: str = "") -> metrics.Counter:
        return self._meters.instrument(Counter, name, unit, description, None, self.name) or metrics.NoOpCounter(name)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> metrics.UpDownCounter:
        made = self._meters.instrument(UpDownCounter, name, unit, description, None, self.name)
        return made or metrics.NoOpUpDownCounter(name)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> metrics.Histogram:
        buckets = explicit_bucket_boundaries_advisory
        made = self._meters.instrument(Histogram, name, unit, description, buckets, self.name)
        return made or metrics.NoOpHistogram(name)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> Any:  # noqa: ANN401 - the SDK's own
        made = self._inside.create_gauge(name, unit, description)
        others = [other.create_gauge(name, unit, description) for other in self._meters.others(name, self.name)]
        return _Gauges([made, *others]) if others else made

    def create_observable_counter(
        self, name: str, callbacks: _Callbacks = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableCounter:
        return self._observe(ObservableCounter, "observable_counter", name, callbacks, unit, description)

    def create_observable_gauge(
        self, name: str, callbacks: _Callbacks = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableGauge:
        return self._observe(ObservableGauge, "observable_gauge", name, callbacks, unit, description)

    def create_observable_up_down_counter(
        self, name: str, callbacks: _Callbacks = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableUpDownCounter:
        return self._observe(ObservableUpDownCounter, "observable_up_down_counter", name, callbacks, unit, description)

    def _observe(
        self, made: type[_Observed], kind: str, name: str, callbacks: _Callbacks, unit: str, description: str
    ) -> _Observed:
        if any(isinstance(callback, Generator) for callback in callbacks or ()):
            return cast("_Observed", getattr(self._inside, f"create_{kind}")(name, callbacks, unit, description))
        return self._meters.observe(made, Instrument(kind, self.name, name, unit, description), callbacks or ())


class _Gauges:
    """A gauge that is set, and its twins in other providers."""

    def __init__(self, gauges: Sequence[Any]) -> None:
        self._gauges = gauges

    def set(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - the SDK's own
        for gauge in self._gauges:
            gauge.set(*args, **options)
