"""Goes through the scenarios and says what came of each."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from monitoring.drill.drill_stack import DrillStack
from monitoring.drill.scenarios import Scenario
from monitoring.drill.watch import Watch

READY_SECONDS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one alert. `unrelated` are those that began to fire and have nothing to do with the fault."""

    alert: str
    fault: str
    to_fire: float | None
    to_end: float | None
    notified: bool
    unrelated: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether it fired, was told to Alertmanager and ended, and nothing else fired."""
        return self.to_fire is not None and self.to_end is not None and self.notified and not self.unrelated


@dataclass(frozen=True, slots=True, kw_only=True)
class _Broken:
    """A fault that is over; its alerts may not be."""

    scenario: Scenario
    begun: float
    ended: float
    notified: set[str]
    unrelated: tuple[str, ...]


def drill(drilled: DrillStack, watch: Watch, scenarios: Iterable[Scenario], say: Callable[[Row], None]) -> list[Row]:
    """Run scenarios one after another; yield what came of each when its alerts have ended."""
    rows: list[Row] = []
    lingering: list[_Broken] = []
    before: frozenset[str] = frozenset()

    def tell(broken: _Broken) -> None:
        for row in _rows(watch, broken):
            say(row)
            rows.append(row)

    for scenario in scenarios:
        allowed = frozenset((*map(_alert, scenario.alerts), *scenario.also))
        broken = _break(drilled, watch, scenario, allowed | before)
        # What the last fault did may be seen late, and the longer windows of a budget much later.
        before = allowed | {alert for alert in before if alert.endswith("BudgetBurns")}
        if scenario.slow_to_resolve:
            lingering.append(broken)
        else:
            tell(broken)
    for broken in lingering:
        tell(broken)
    return rows


def quiet(drilled: DrillStack, watch: Watch) -> list[str]:
    """Wait until nothing fires in a stack that is well, with orders going through; return what still does."""
    drilled.offer("lamp", 1_000_000)
    drilled.offer("mug", 5)
    drilled.load.mode = "orders"
    end = time.monotonic() + READY_SECONDS
    calm = time.monotonic()
    while time.monotonic() < end and time.monotonic() - calm < 8:  # noqa: PLR2004 - longer than every hold
        if watch.firing:
            calm = time.monotonic()
        time.sleep(0.2)
    drilled.load.mode = "nothing"
    return sorted(watch.firing)


def _break(drilled: DrillStack, watch: Watch, scenario: Scenario, allowed: frozenset[str]) -> _Broken:
    for alert in scenario.alerts:
        watch.wait(alert, fires=False, seconds=scenario.over)
    first = len(watch.events)
    drilled.load.mode = scenario.load
    begun = time.monotonic()
    scenario.begin(drilled)
    for alert in scenario.alerts:
        watch.wait(alert, fires=True, seconds=begun + scenario.within - time.monotonic())
    notified = _notified(watch, scenario.alerts)
    ended = time.monotonic()
    scenario.end(drilled)
    for alert in () if scenario.slow_to_resolve else scenario.alerts:
        watch.wait(alert, fires=False, seconds=ended + scenario.over - time.monotonic())
    drilled.load.mode = "nothing"
    fired = {event.alert for event in watch.events[first:] if event.fires}
    unrelated = tuple(sorted(alert for alert in fired if _alert(alert) not in allowed))
    return _Broken(scenario=scenario, begun=begun, ended=ended, notified=notified, unrelated=unrelated)


def _rows(watch: Watch, broken: _Broken) -> Iterable[Row]:
    for alert in broken.scenario.alerts:
        watch.wait(alert, fires=False, seconds=broken.ended + broken.scenario.over - time.monotonic())
        events = [event for event in watch.events if event.alert == alert and event.at > broken.begun]
        fires = [event.at - broken.begun for event in events if event.fires]
        ends = [event.at - broken.ended for event in events if not event.fires and fires]
        yield Row(
            alert=alert,
            fault=broken.scenario.fault,
            to_fire=fires[0] if fires else None,
            to_end=max(ends[0], 0) if ends else None,
            notified=alert in broken.notified,
            unrelated=broken.unrelated,
        )


def _notified(watch: Watch, alerts: Iterable[str]) -> set[str]:
    """Return what Alertmanager has; Prometheus tells it within a moment."""
    end = time.monotonic() + 10
    while not set(alerts) <= (notified := watch.notified()) and time.monotonic() < end:
        time.sleep(0.2)
    return notified


def _alert(name: str) -> str:
    return name.partition(" ")[0]
