"""The meter provider that the service and its instrumentations are given.

Its counters and histograms are those of `telemetry.metrics.aggregation`, its observable instruments those of
`telemetry.metrics.observable`; `AggregatingMeterProvider.metrics` gives what they show to a reader, as a MetricProducer
of the specification does. A gauge that is set, and a callback that is a generator, are left to the SDK inside.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from opentelemetry import metrics
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Metric

from .aggregation import Counter, Histogram, UpDownCounter, View
from .observable import ObservableCounter, ObservableGauge, ObservableInstrument, ObservableUpDownCounter

_Recorded = TypeVar("_Recorded", Counter, UpDownCounter, Histogram)
_SDK = "otel.sdk."
_Callbacks = Sequence[metrics.CallbackT] | None


class AggregatingMeterProvider(metrics.MeterProvider):
    """A meter provider.

    Args:
        inside: makes all other instruments, and ends with this provider.
        views: what is kept, by the instrument's name; everything for one that is not named, nothing where it says None.
        also: those that are there have the same instruments, and are told of all that these measure; of the SDK's own
            figures they are not.
    """

    def __init__(
        self,
        inside: MeterProvider,
        views: Mapping[str, View | None] | None = None,
        also: Sequence[metrics.MeterProvider | None] = (),
    ) -> None:
        self._also = [provider.get_meter("telemetry") for provider in also if provider is not None]
        self._inside = inside
        self._views = views or {}
        self._instruments: dict[tuple[type, str, str], Counter | UpDownCounter | Histogram] = {}
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
            instruments = [*self._observed, *self._instruments.values()]
        for instrument in instruments:
            metric = instrument.metric(take_exemplars=take_exemplars)
            if metric.data.data_points:
                yield metric

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Send what there is to the collector, if metrics go to one; return whether it took it."""
        del timeout_millis  # the exporter has one of its own
        return self.flush()

    def instrument(
        self, kind: type[_Recorded], name: str, unit: str, description: str, buckets: Sequence[float] | None = None
    ) -> _Recorded | None:
        """Return the instrument, or None when nothing is kept of it."""
        view = self._views.get(name, View())
        if view is None:
            return None
        if view.buckets is None and buckets:
            view = View(attributes=view.attributes, buckets=tuple(buckets))
        with self._lock:
            made = self._instruments.get((kind, name, unit))
            if made is None:
                made = self._instruments[kind, name, unit] = kind(name, unit, description, view)
                self._tell_others(made, name, unit, description, view.buckets)
        assert isinstance(made, kind)  # noqa: S101 - the kind is part of the key
        return made

    def _tell_others(
        self,
        made: Counter | UpDownCounter | Histogram,
        name: str,
        unit: str,
        description: str,
        buckets: Sequence[float] | None,
    ) -> None:
        for meter in self.others(name):
            if isinstance(made, Histogram):
                other = meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=buckets)
                made.tell(other.record)
            elif isinstance(made, Counter):
                made.tell(meter.create_counter(name, unit, description).add)
            else:
                made.tell(meter.create_up_down_counter(name, unit, description).add)

    def others(self, name: str) -> Sequence[Meter]:
        """Return those that have an instrument of this name as well."""
        return () if name.startswith(_SDK) else self._also

    def observe(self, instrument: ObservableInstrument) -> None:
        """Read this instrument, too."""
        with self._lock:
            self._observed.append(instrument)


class _Meter(metrics.Meter):
    def __init__(self, inside: metrics.Meter, meters: AggregatingMeterProvider) -> None:
        super().__init__(inside.name, inside.version, inside.schema_url)
        self._inside = inside
        self._meters = meters

    def create_counter(self, name: str, unit: str = "", description: str = "") -> metrics.Counter:
        return self._meters.instrument(Counter, name, unit, description) or metrics.NoOpCounter(name)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> metrics.UpDownCounter:
        return self._meters.instrument(UpDownCounter, name, unit, description) or metrics.NoOpUpDownCounter(name)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> metrics.Histogram:
        buckets = explicit_bucket_boundaries_advisory
        return self._meters.instrument(Histogram, name, unit, description, buckets) or metrics.NoOpHistogram(name)

    def create_gauge(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the SDK's own
        return self._inside.create_gauge(*args, **options)

    def create_observable_counter(
        self, name: str, callbacks: _Callbacks = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableCounter:
        if _has_generator(callbacks):
            return self._inside.create_observable_counter(name, callbacks, unit, description)
        for other in self._meters.others(name):
            other.create_observable_counter(name, callbacks, unit, description)
        return self._read(ObservableCounter(name, unit, description, callbacks or ()))  # type: ignore[arg-type]

    def create_observable_gauge(
        self, name: str, callbacks: _Callbacks = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableGauge:
        if _has_generator(callbacks):
            return self._inside.create_observable_gauge(name, callbacks, unit, description)
        for other in self._meters.others(name):
            other.create_observable_gauge(name, callbacks, unit, description)
        return self._read(ObservableGauge(name, unit, description, callbacks or ()))  # type: ignore[arg-type]

    def create_observable_up_down_counter(
        self, name: str, callbacks: _Callbacks = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableUpDownCounter:
        if _has_generator(callbacks):
            return self._inside.create_observable_up_down_counter(name, callbacks, unit, description)
        for other in self._meters.others(name):
            other.create_observable_up_down_counter(name, callbacks, unit, description)
        return self._read(ObservableUpDownCounter(name, unit, description, callbacks or ()))  # type: ignore[arg-type]

    def _read(self, instrument: "_Instrument") -> "_Instrument":
        self._meters.observe(instrument)
        return instrument


_Instrument = TypeVar("_Instrument", bound=ObservableInstrument)


def _has_generator(callbacks: _Callbacks) -> bool:
    return any(isinstance(callback, Generator) for callback in callbacks or ())
