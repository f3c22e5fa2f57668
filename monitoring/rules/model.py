"""What a rule is, and how durations are scaled."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["page", "ticket", "info", "none"]
"""`page`: somebody looks now. `ticket`: somebody looks today. `info`: nobody has to. `none`: it always fires."""

RUNBOOK = "{{ $externalURL }}/user/runbook.html"
"""What Prometheus serves of docs/runbook.md, wherever it is reached."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(duration: str) -> int:
    """Return the seconds of a duration of Prometheus with one unit, say `5m`."""
    matched = re.fullmatch(r"(\d+)([smhd])", duration)
    if not matched:
        raise ValueError(f"{duration!r} is not a number and one of s, m, h, d")
    return int(matched[1]) * _UNITS[matched[2]]


@dataclass(frozen=True, slots=True)
class Timescale:
    """How fast the time of the rules runs: 1 for those that are committed, less for tests.

    What is scaled stays long enough for a scrape each second, and for a snapshot of the ledger that is a second old.
    """

    factor: float = 1.0

    def window(self, duration: str) -> str:
        """Return the range of a rate."""
        return self._scaled(duration, 5)

    def hold(self, duration: str) -> str:
        """How long a condition holds before its alert fires."""
        return self._scaled(duration, 1)

    def limit(self, duration: str) -> int:
        """Return a number of seconds that a series is compared with."""
        return max(round(seconds_of(duration) * self.factor), min(3, seconds_of(duration)))

    def _scaled(self, duration: str, least: int) -> str:
        if self.factor == 1:
            return duration
        return f"{max(round(seconds_of(duration) * self.factor), min(least, seconds_of(duration)))}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A recorded series, named `level:metric:operation`."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def rule(self) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        rule: dict[str, Any] = {"record": self.record, "expr": self.expr}
        return rule | ({"labels": dict(self.labels)} if self.labels else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert. `summary` is one line for a phone, `description` what the one who was woken sees first."""

    name: str
    severity: Severity
    expr: str
    hold: str = "0s"
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def rule(self) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        rule: dict[str, Any] = {"alert": self.name, "expr": self.expr}
        if self.hold != "0s":
            rule["for"] = self.hold
        return rule | {
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOK}#{self.name.lower()}",
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are evaluated one after another; `interval` overrides that of Prometheus."""

    name: str
    rules: Sequence[Record | Alert]
    interval: str | None = None

    def group(self) -> dict[str, Any]:
        """Return the group as Prometheus reads it."""
        interval = {"interval": self.interval} if self.interval else {}
        return {"name": self.name, **interval, "rules": [rule.rule() for rule in self.rules]}
