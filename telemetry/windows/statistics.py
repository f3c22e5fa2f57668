"""What the windows of a service say once they are read: distributions by series, slots, failures."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .histogram import LatencyHistogram


class Series(NamedTuple):
    """What requests are counted by."""

    method: str
    route: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that the service failed, with what is needed to look into it."""

    time: str
    method: str
    route: str
    status: int
    code: str
    exception: str | None
    trace_id: str | None
    worker: str


@dataclass(frozen=True, slots=True)
class Slot:
    """The requests that ended in one slot, and the sum of their durations."""

    requests: int
    busy_seconds: float


@dataclass(slots=True)
class WindowStats:
    """What the windows say.

    Attributes:
        at: When they were read, by the clock of Redis.
        seconds: How long the window really is: whole slots, and not before everything was cleared.
        series: Durations by method, route and status.
        slots: The slots in which there were requests, the oldest first.
        failures: The newest, newest first.
        now: What each process that is not silent said of itself last.
    """

    at: datetime
    seconds: float
    series: dict[Series, LatencyHistogram] = field(default_factory=dict)
    slots: list[Slot] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    heartbeats: list[dict[str, Any]] = field(default_factory=list)

    def add_slot(self, row: list[str | bytes]) -> None:
        """Add one slot: pairs of `<bucket or us> <method> <status> <route>` and a count."""
        requests = microseconds = 0
        for name, value in pairs(row):
            what, method, status, route = name.split(" ", 3)
            distribution = self.series.setdefault(Series(method, route, int(status)), LatencyHistogram())
            if what == "us":
                distribution.microseconds += int(value)
                microseconds += int(value)
            else:
                distribution.counts[int(what)] += int(value)
                requests += int(value)
        self.slots.append(Slot(requests, microseconds / 1e6))

    def all(self) -> LatencyHistogram:
        """Return the durations of all requests."""
        total = LatencyHistogram()
        for distribution in self.series.values():
            total.add(distribution)
        return total


def _text(reply: str | bytes) -> str:
    return reply.decode() if isinstance(reply, bytes) else reply


def pairs(flat: list[str | bytes]) -> Iterable[tuple[str, str]]:
    """Return the pairs of a flat reply, as text."""
    texts = [_text(part) for part in flat]
    return zip(texts[::2], texts[1::2], strict=True)


def read_failure(text: str | bytes) -> Failure:
    """Read a failure as `RequestWindows.fail` wrote it."""
    fields = json.loads(text)
    del fields["id"]
    return Failure(**fields)


def recent_heartbeats(flat: list[str | bytes], at: int, silence: timedelta) -> list[dict[str, Any]]:
    """Return what the processes say whose last word is not older than `silence`; `at` is the present in ms."""
    said_now = []
    for _, said in pairs(flat):
        when, _, text = said.partition(" ")
        if abs(at - int(when)) < silence / timedelta(milliseconds=1):  # of the future: the clock was set back
            said_now.append(json.loads(text))
    return said_now
