"""Burn-rate alerts from monitoring/slo.yaml: a ratio per objective and window, an alert per row of its table."""

from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from monitoring.rules.model import Alert, Group, Record, Severity, Timescale, seconds_of

SLO = Path(__file__).parents[1] / "slo.yaml"
SLOW = "6h"
"""From this window on a ratio is recorded once a minute: it moves slowly and reads days of samples."""

RATIO = "slo:bad_events:ratio_rate"
RATE = "slo:bad_events:rate"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Objective(_Strict):
    """What is promised: `percent` of all events are good. Either `good` or `bad` events are given."""

    name: str
    alert: str
    percent: float = Field(gt=0, lt=100)
    promise: str
    good: str | None = None
    bad: str | None = None
    total: str

    @model_validator(mode="after")
    def _one_of_both(self) -> "Objective":
        if (self.good is None) == (self.bad is None):
            raise ValueError(f"{self.name}: give either good or bad")
        return self

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        return round(1 - self.percent / 100, 6)

    @property
    def bad_events(self) -> str:
        """The rate of bad events; 0 where there was none yet."""
        return f"({self.bad} or 0 * ({self.total}))" if self.bad else f"(({self.total}) - {self.good})"


class BurnRate(_Strict):
    """A row of the table: the budget goes `factor` times too fast, in both windows."""

    factor: float
    long: str
    short: str
    severity: Severity


class Promises(_Strict):
    """monitoring/slo.yaml."""

    objectives: tuple[Objective, ...]
    burn_rates: tuple[BurnRate, ...]
    least_bad_events: int

    @classmethod
    def read(cls, path: Path = SLO) -> "Promises":
        """Read the file."""
        return cls.model_validate(yaml.safe_load(path.read_text()))

    @property
    def windows(self) -> list[str]:
        """Every window of the table once, the shortest first."""
        return sorted({window for rate in self.burn_rates for window in (rate.long, rate.short)}, key=seconds_of)


def objective_groups(promises: Promises, t: Timescale) -> tuple[Group, ...]:
    """Return the groups of objectives.yml."""
    slow = [window for window in promises.windows if seconds_of(window) >= seconds_of(SLOW)]
    fast = [window for window in promises.windows if window not in slow]
    alerts = [_alert(promises, one, rate, t) for one in promises.objectives for rate in promises.burn_rates]
    return (
        Group(name="objectives", rules=_ratios(promises, fast, t)),
        Group(name="objectives_slow", interval=t.hold("1m"), rules=_ratios(promises, slow, t)),
        Group(name="budgets", rules=alerts),
    )


def _ratios(promises: Promises, windows: Iterable[str], t: Timescale) -> list[Record]:
    longs = {rate.long for rate in promises.burn_rates}
    records = []
    for one in promises.objectives:
        for window in windows:
            bad, total = (text.replace("$window", t.window(window)) for text in (one.bad_events, one.total))
            labels = {"slo": one.name}
            records.append(Record(record=RATIO + window, expr=f"{bad} / ({total} > 0)", labels=labels))
            if window in longs:
                records.append(Record(record=RATE + window, expr=bad, labels=labels))
    return records


def _alert(promises: Promises, one: Objective, rate: BurnRate, t: Timescale) -> Alert:
    of = f'{{slo="{one.name}"}}'
    most = f"{rate.factor:g} * {one.budget:g}"
    long = seconds_of(t.window(rate.long))
    return Alert(
        name=one.alert,
        severity=rate.severity,
        labels={"slo": one.name, "window": rate.long},
        expr=f"{RATIO}{rate.long}{of} > {most}\n"
        f"and {RATIO}{rate.short}{of} > {most}\n"
        f"and {RATE}{rate.long}{of} * {long} >= {promises.least_bad_events}",
        summary=f"The {one.name} budget goes {rate.factor:g} times too fast ({rate.long} and {rate.short}).",
        description=f"{{{{ $value | humanizePercentage }}}} of the events of the last {rate.long} were bad; "
        f"{one.budget:.2%} may be. The promise: {one.promise}",
    )
