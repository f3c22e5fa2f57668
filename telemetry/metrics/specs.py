"""Declared instruments: what is measured, in which unit, with which attributes.

A spec is data: name, unit, description, attributes and scope. An attribute is declared by name, with its
closed set of values or None for an open one, which ``limit`` bounds. An observation must carry exactly the declared
attributes: `telemetry.metrics.instruments` sees to it.

Units are UCUM. A unit in braces, such as ``{order}``, adds nothing to the Prometheus name; ``s`` adds
``_seconds``. Scope ``process`` puts the label ``worker`` on each series; scope ``fleet`` is for values that
describe all processes together and are exported by one of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import ClassVar, Literal

from .naming import check_name, prometheus_name, unit_name

AttributeValues = Mapping[str, str | int | bool]
Scope = Literal["process", "fleet"]

MAX_SERIES = 2_000
"""How many sets of attributes the SDK keeps for one instrument."""

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bounds that the HTTP semantic conventions advise for durations in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstrumentSpec:
    """What all instruments declare.

    Attributes:
        name: in OpenTelemetry's form, with dots; Prometheus sees underscores.
        unit: UCUM, such as ``s`` or ``{order}``.
        description: one sentence; the HELP line.
        attributes: each attribute with its closed set of values, or None when the set is open.
        scope: ``process`` or ``fleet``.
        limit: how many sets of attributes become series when one of them is open; at most `MAX_SERIES`. What is
            recorded beyond it goes to one series labelled ``otel_metric_overflow``, what is read at a scrape is left
            out, and both are counted in ``telemetry_observations_overflowed_total``.

    Raises:
        TypeError: an attribute has one string for its values.
        ValueError: the name is none, or the limit is out of range.
    """

    kind: ClassVar[str] = ""
    _suffix: ClassVar[str] = ""

    name: str
    unit: str
    description: str
    attributes: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    scope: Scope = "process"
    limit: int = MAX_SERIES

    def __post_init__(self) -> None:
        check_name(self.name)
        if not 1 <= self.limit <= MAX_SERIES:
            raise ValueError(f"{self.name}: a limit of {self.limit} is not 1 to {MAX_SERIES}")
        for name, values in self.attributes.items():
            if isinstance(values, str):  # its letters would be values
                raise TypeError(f"{self.name}: the values of {name} are several strings: ({values!r},)")

    @property
    def is_open(self) -> bool:
        """Whether an attribute may take any value."""
        return None in self.attributes.values()

    @property
    def prometheus_name(self) -> str:
        """The name at ``/metrics``; a histogram's series add ``_bucket``, ``_count`` and ``_sum`` to it."""
        name = prometheus_name(self.name)
        unit = unit_name(self.unit)
        if unit and not name.endswith(f"_{unit}"):
            name = f"{name}_{unit}"
        return name if name.endswith(self._suffix) else name + self._suffix

    def combinations(self) -> list[dict[str, str]]:
        """Return every set of attributes that can occur, or none when an attribute is open."""
        if self.is_open:
            return []
        closed = [values for values in self.attributes.values() if values is not None]
        return [dict(zip(self.attributes, values, strict=True)) for values in product(*closed)]

    def problem(self, attributes: AttributeValues) -> str | None:
        """Return what is wrong with an observation's attributes, or None."""
        if attributes.keys() != self.attributes.keys():
            return f"attributes {sorted(attributes)} are not the declared {sorted(self.attributes)}"
        for name, value in attributes.items():
            closed = self.attributes[name]
            if closed is not None and value not in closed:
                return f"{name}={value!r} is not a declared value"
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class CounterSpec(InstrumentSpec):
    """A total that only grows."""

    kind: ClassVar[str] = "counter"
    _suffix: ClassVar[str] = "_total"


@dataclass(frozen=True, kw_only=True, slots=True)
class UpDownCounterSpec(InstrumentSpec):
    """A sum that goes up and down; a gauge to Prometheus."""

    kind: ClassVar[str] = "updowncounter"


@dataclass(frozen=True, kw_only=True, slots=True)
class GaugeSpec(InstrumentSpec):
    """A value as it is now."""

    kind: ClassVar[str] = "gauge"


@dataclass(frozen=True, kw_only=True, slots=True)
class HistogramSpec(InstrumentSpec):
    """A distribution; ``buckets`` are the upper bounds, in the unit."""

    kind: ClassVar[str] = "histogram"

    buckets: tuple[float, ...] = SECONDS_BUCKETS
