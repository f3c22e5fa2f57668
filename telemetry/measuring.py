"""What a `Telemetry` does for a service's own instruments, which are declared as data."""

from .metrics.instruments import Counter, Histogram, Instruments, ObserveCallback, UpDownCounter
from .metrics.specs import CounterSpec, GaugeSpec, HistogramSpec, UpDownCounterSpec


class MeasuringTelemetry:
    """The half of `telemetry.Telemetry` that makes instruments."""

    _instruments: Instruments

    def counter(self, spec: CounterSpec) -> Counter:
        """Return the counter of a spec; with closed sets of attributes it exists at 0 from now on."""
        return self._instruments.counter(spec)

    def up_down_counter(self, spec: UpDownCounterSpec) -> UpDownCounter:
        """Return the up-down counter of a spec; with closed sets of attributes it exists at 0 from now on."""
        return self._instruments.up_down_counter(spec)

    def histogram(self, spec: HistogramSpec) -> Histogram:
        """Return the histogram of a spec."""
        return self._instruments.histogram(spec)

    def observe(self, spec: CounterSpec | UpDownCounterSpec | GaugeSpec, read: ObserveCallback) -> None:
        """Read a counter or a gauge at each scrape.

        Args:
            spec: what the values are.
            read: gives pairs of a value and its attributes. It reads memory only and returns at once. A
                series that it does not give is not exported: no stale value, and never a false 0.
        """
        self._instruments.observe(spec, read)
