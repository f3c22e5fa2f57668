"""Every alert fires for a fault of its own in the running stack, is told, and ends; no unrelated one fires."""

import pytest
import yaml

from monitoring.drill.__main__ import run
from monitoring.drill.run import Row
from monitoring.drill.scenarios import SCENARIOS
from monitoring.rules.__main__ import HOME
from tests.support import cannot_run, executable

pytestmark = pytest.mark.timeout(1200)

DRILLED = [alert for scenario in SCENARIOS for alert in scenario.alerts]
Drilled = tuple[list[str], dict[str, Row]]


def declared() -> set[str]:
    """Return every alert of the committed rules."""
    files = [yaml.safe_load(path.read_text()) for path in HOME.glob("*.yml")]
    return {rule["alert"] for file in files for group in file["groups"] for rule in group["rules"] if "alert" in rule}


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Drilled:
    """Drill once: what fired before anything was broken, and a row for each alert."""
    from deploy.stack.network import missing  # noqa: PLC0415 - as the other tests of the stack

    for name in ("prometheus", "alertmanager", "jaeger", "otelcol"):
        executable(name)
    if lack := missing():
        cannot_run(str(lack))
    loud, rows = run(tmp_path_factory.mktemp("drill"))
    return loud, {row.alert: row for row in rows}


def test_every_alert_has_a_fault_that_makes_it_fire() -> None:
    assert {alert.partition(" ")[0] for alert in DRILLED} == declared()
    assert len(DRILLED) == len(set(DRILLED))


def test_nothing_fires_in_a_stack_that_is_well(drilled: Drilled) -> None:
    loud, _ = drilled
    assert loud == []


@pytest.mark.parametrize("alert", DRILLED)
def test_an_alert_fires_for_its_fault_and_ends_with_it(drilled: Drilled, alert: str) -> None:
    row = drilled[1][alert]
    assert row.to_fire is not None, row
    assert row.notified, f"Alertmanager was not told: {row}"
    assert row.to_end is not None, row
    assert row.unrelated == (), row
