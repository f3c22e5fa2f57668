"""Recording what specs declare.

An observation that does not match its declaration is an error under ``strict``, for tests; in production it
is counted in ``telemetry_observations_dropped_total`` and dropped, so that telemetry never breaks its host. One whose
attributes are too many for the spec's ``limit`` is counted in ``telemetry_observations_overflowed_total``.
Counters whose sets of attributes are closed exist at 0 from the moment they are made.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider
from opentelemetry.metrics import Counter as OTelCounter
from opentelemetry.metrics import Histogram as OTelHistogram
from opentelemetry.metrics import UpDownCounter as OTelUpDownCounter

from .observable import Observations, SeriesCache
from .specs import (
    AttributeValues,
    CounterSpec,
    GaugeSpec,
    HistogramSpec,
    InstrumentSpec,
    UpDownCounterSpec,
)

ObserveCallback = Callable[[], Iterable[tuple[float, AttributeValues]]]
_T = TypeVar("_T")
_SCOPE = "telemetry"

DROPPED = CounterSpec(
    name="telemetry.observations.dropped",
    unit="{observation}",
    description="Observations dropped because they did not match their declaration, or could not be read.",
    attributes={"instrument": None},
)
OVERFLOWED = CounterSpec(
    name="telemetry.observations.overflowed",
    unit="{observation}",
    description="Observations without a series of their own, because the instrument has as many as its limit.",
    attributes={"instrument": None},
)
_OVERFLOW: AttributeValues = {"otel.metric.overflow": True}  # as the SDK itself does beyond its limit


class InstrumentError(ValueError):
    """An observation does not match the declaration of its instrument."""


class ObservationGuard:
    """Keeps a faulty observation from breaking its host, without hiding it."""

    def __init__(self, dropped: OTelCounter, overflowed: OTelCounter, *, strict: bool) -> None:
        self._dropped = dropped
        self._overflowed = overflowed
        self._strict = strict
        self._failures: list[Exception] = []
        self._recorded: defaultdict[str, set[Hashable]] = defaultdict(set)

    def watch(self, spec: InstrumentSpec) -> None:
        """Have the counts of observations that were dropped, or overflowed, begin at 0."""
        self._dropped.add(0, {"instrument": spec.name})
        if spec.is_open:
            self._overflowed.add(0, {"instrument": spec.name})

    def record_valid(
        self,
        spec: InstrumentSpec,
        record: Callable[[float, AttributeValues], None],
        value: float,
        attributes: AttributeValues | None,
        minimum: float = 0.0,
    ) -> None:
        """Record one observation that is as declared; otherwise raise under ``strict``, or count it."""
        attributes = attributes or {}
        problem = spec.problem(attributes)
        if problem is None:
            try:
                if value >= minimum:
                    if spec.is_open:
                        key = tuple(attributes[name] for name in spec.attributes)
                        if not self.admits(spec, key, self._recorded[spec.name]):
                            attributes = _OVERFLOW
                    record(value, attributes)
                    return
                problem = f"{value} is not {minimum} or more"
            except Exception as error:  # noqa: BLE001 - an observation never breaks its host
                problem = repr(error)
        self._dropped.add(1, {"instrument": spec.name})
        if self._strict:
            raise InstrumentError(f"{spec.name}: {problem}")

    def admits(self, spec: InstrumentSpec, key: Hashable, series: set[Hashable]) -> bool:
        """Return whether attributes are in ``series`` or still fit under the limit; otherwise it is counted."""
        if key in series:
            return True
        if len(series) < spec.limit:
            series.add(key)
            return True
        self.overflow(spec)
        return False

    def overflow(self, spec: InstrumentSpec) -> None:
        """Count an observation that has no room."""
        self._overflowed.add(1, {"instrument": spec.name})

    def failed(self, spec: InstrumentSpec, error: Exception) -> None:
        """Count a failure inside a callback; under ``strict`` it waits for `reraise`."""
        self._dropped.add(1, {"instrument": spec.name})
        if self._strict:
            self._failures.append(error)

    def reraise(self) -> None:
        """Raise the first failure that a callback left behind."""
        if self._failures:
            failure = self._failures[0]
            self._failures.clear()
            raise failure


class Counter:
    """Adds to a counter; ``add`` never raises in production."""

    __slots__ = ("_guard", "_instrument", "spec")

    def __init__(self, spec: CounterSpec, instrument: OTelCounter, guard: ObservationGuard) -> None:
        self.spec = spec
        self._instrument = instrument
        self._guard = guard
        for attributes in spec.combinations():
            instrument.add(0, attributes)

    def add(self, amount: float, attributes: AttributeValues | None = None) -> None:
        """Add ``amount``, which is not negative."""
        self._guard.record_valid(self.spec, self._instrument.add, amount, attributes)


class UpDownCounter:
    """Adds to a sum that may fall; ``add`` never raises in production."""

    __slots__ = ("_guard", "_instrument", "spec")

    def __init__(self, spec: UpDownCounterSpec, instrument: OTelUpDownCounter, guard: ObservationGuard) -> None:
        self.spec = spec
        self._instrument = instrument
        self._guard = guard
        for attributes in spec.combinations():
            instrument.add(0, attributes)

    def add(self, amount: float, attributes: AttributeValues | None = None) -> None:
        """Add ``amount``, which may be negative."""
        self._guard.record_valid(self.spec, self._instrument.add, amount, attributes, -math.inf)


class Histogram:
    """Records values of a distribution; ``record`` never raises in production."""

    __slots__ = ("_guard", "_instrument", "spec")

    def __init__(self, spec: HistogramSpec, instrument: OTelHistogram, guard: ObservationGuard) -> None:
        self.spec = spec
        self._instrument = instrument
        self._guard = guard

    def record(self, value: float, attributes: AttributeValues | None = None) -> None:
        """Record ``value``, in the spec's unit and not negative."""
        self._guard.record_valid(self.spec, self._instrument.record, value, attributes)


def observation_callback(
    spec: InstrumentSpec, read: ObserveCallback, guard: ObservationGuard
) -> Callable[[CallbackOptions], Observations]:
    """Return the callback of an observable instrument: what ``read`` gives now, and nothing when it fails."""
    known = SeriesCache(spec)
    find, is_finite, limit = known.by_items.get, math.isfinite, spec.limit  # looked up once, not 5 000 times a scrape

    def callback(_: CallbackOptions) -> Observations:
        given = Observations()
        values = given.values
        known.make_room()
        try:
            for value, attributes in read():
                series = find((*attributes.items(),))
                if series is None:
                    problem = spec.problem(attributes)
                    if problem is not None:
                        guard.failed(spec, InstrumentError(f"{spec.name}: {problem}"))
                        continue
                    series = known.add(attributes)
                if not is_finite(value):
                    continue
                if len(values) < limit or series in values:
                    values[series] = value
                else:
                    guard.overflow(spec)
        except Exception as error:  # noqa: BLE001 - whatever a reader raises, the scrape goes on
            guard.failed(spec, error)
        return given

    return callback


class Instruments:
    """Makes each declared instrument once, in the meter of its scope."""

    def __init__(self, process: MeterProvider, fleet: MeterProvider, *, strict: bool) -> None:
        self._meters: dict[str, Meter] = {
            "process": process.get_meter(_SCOPE),
            "fleet": fleet.get_meter(_SCOPE),
        }
        self._made: dict[str, tuple[InstrumentSpec, object]] = {}
        self._names: dict[str, str] = {}
        dropped, overflowed = (
            self._meters["process"].create_counter(spec.name, spec.unit, spec.description)
            for spec in (DROPPED, OVERFLOWED)
        )
        self.guard = ObservationGuard(dropped, overflowed, strict=strict)

    def counter(self, spec: CounterSpec) -> Counter:
        """Return the counter of a spec."""
        make = self._meters[spec.scope].create_counter
        return self._get_or_make(spec, lambda: Counter(spec, make(spec.name, spec.unit, spec.description), self.guard))

    def up_down_counter(self, spec: UpDownCounterSpec) -> UpDownCounter:
        """Return the up-down counter of a spec."""
        make = self._meters[spec.scope].create_up_down_counter
        return self._get_or_make(
            spec, lambda: UpDownCounter(spec, make(spec.name, spec.unit, spec.description), self.guard)
        )

    def histogram(self, spec: HistogramSpec) -> Histogram:
        """Return the histogram of a spec."""
        make = self._meters[spec.scope].create_histogram

        def histogram() -> Histogram:
            instrument = make(spec.name, spec.unit, spec.description, explicit_bucket_boundaries_advisory=spec.buckets)
            return Histogram(spec, instrument, self.guard)

        return self._get_or_make(spec, histogram)

    def observe(self, spec: CounterSpec | UpDownCounterSpec | GaugeSpec, read: ObserveCallback) -> None:
        """Have ``read`` called at each scrape."""
        meter = self._meters[spec.scope]
        make = {
            CounterSpec: meter.create_observable_counter,
            UpDownCounterSpec: meter.create_observable_up_down_counter,
            GaugeSpec: meter.create_observable_gauge,
        }[type(spec)]
        if spec.name in self._made:
            raise ValueError(f"{spec.name} is already observed")
        callback = observation_callback(spec, read, self.guard)
        self._get_or_make(spec, lambda: make(spec.name, [callback], spec.unit, spec.description))

    def _get_or_make(self, spec: InstrumentSpec, make: Callable[[], _T]) -> _T:
        known, made = self._made.get(spec.name, (spec, None))
        if known != spec:
            raise ValueError(f"{spec.name} is already declared differently")
        namesake = self._names.setdefault(spec.prometheus_name, spec.name)
        if namesake != spec.name:
            raise ValueError(f"{spec.name} and {namesake} are both {spec.prometheus_name} at /metrics: rename one")
        if made is None:
            made = make()
            self.guard.watch(spec)
            self._made[spec.name] = (spec, made)
        return made  # type: ignore[return-value]  # what was made for a spec has the type that the spec makes
