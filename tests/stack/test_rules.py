"""The rules of Prometheus: made from their tables, valid, tested, documented, and about series that exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.rules.__main__ import DOCUMENT, HOME, PAGE, rule_files
from monitoring.rules.model import RUNBOOK, Timescale
from monitoring.rules.runbook import page
from monitoring.rules.watch_alerts import FRONT_JOB, OTHER_JOBS, SERVICE_JOBS
from service.metrics import SPECS
from telemetry.self_metrics import SELF_SPECS
from tests.stack.promql import metrics
from tests.support import executable
from tests.support.processes import ROOT
from tests.support.processes import run as run_to_end

TESTS = HOME.parent / "tests"
RECORDED = re.compile(r"[a-z_]+:[a-z_]+:[a-z0-9_]+")
OF_OTHERS = re.compile(
    r"up|process_start_time_seconds|otel_sdk_(processor|exporter)_(span|log)_(processed|exported)_total|(otelcol|prometheus|alertmanager)_[a-z_]+"
)
"""Of Prometheus and Alertmanager, of the OpenTelemetry SDK, of the collector, who declare them elsewhere."""

Rule = dict[str, Any]


def run(name: str, *arguments: str | Path, cwd: Path = ROOT) -> str:
    """Run a program of the stack to its end, which must be a success."""
    done = run_to_end([executable(name), *arguments], cwd=cwd, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules(key: str) -> list[Rule]:
    """Return the committed rules that are an `alert`, or a `record`."""
    files = [yaml.safe_load(path.read_text()) for path in sorted(HOME.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"] if key in rule]


ALERTS = sorted({rule["alert"] for rule in rules("alert")})


def exported() -> set[str]:
    """Return the names at `/metrics` of everything that is declared, and of what the interceptor records."""
    named = {spec.prometheus_name: spec.kind for spec in (*SPECS, *SELF_SPECS)}
    histograms = [name for name, kind in named.items() if kind == "histogram"]
    histograms.append("http_server_request_duration_seconds")
    return named.keys() | {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}


def test_the_committed_rules_are_what_the_tables_say() -> None:
    made = rule_files(Timescale())
    assert made == {path.name: path.read_text() for path in sorted(HOME.glob("*.yml"))}, "run `make rules`"


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_promtool_finds_no_fault(scale: float, tmp_path: Path) -> None:
    for name, content in rule_files(Timescale(scale)).items():
        (tmp_path / name).write_text(content)
        assert "SUCCESS" in run("promtool", "check", "rules", tmp_path / name)


@pytest.mark.parametrize("file", sorted(path.name for path in TESTS.glob("*.yml")))
def test_the_alerts_fire_and_do_not_fire(file: str) -> None:
    run("promtool", "test", "rules", file, cwd=TESTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_case_for_firing_and_one_for_not_firing(alert: str) -> None:
    """And a burn-rate alert one for each pair of windows."""
    files = [yaml.safe_load(path.read_text()) for path in TESTS.glob("*.yml")]
    cases = [case for file in files for test in file["tests"] for case in test["alert_rule_test"]]
    fires = [case["exp_alerts"] for case in cases if case["alertname"] == alert]
    assert [] in fires
    expected = [case["exp_labels"] for alerts in fires for case in alerts]
    declared = [rule["labels"] for rule in rules("alert") if rule["alert"] == alert]
    for labels in declared:
        assert [case for case in expected if labels.items() <= case.items()], labels


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_its_heading_in_the_runbook(alert: str) -> None:
    """What it means, how to look, what to do."""
    assert {rule["annotations"]["runbook_url"] for rule in rules("alert") if rule["alert"] == alert} == {
        f"{RUNBOOK}#{alert.lower()}"
    }
    section = DOCUMENT.read_text().partition(f"\n## {alert}\n")[2].partition("\n## ")[0]
    for part in ("**Means.** ", "**Look.** ", "**Do.** "):
        assert part in section
    assert PAGE.read_text().count(f'<h2 id="{alert.lower()}">{alert}</h2>') == 1


def test_the_page_of_the_runbook_is_what_the_document_says() -> None:
    assert PAGE.read_text() == page(DOCUMENT.read_text()), "run `make rules`"


def test_a_link_of_the_page_leads_to_a_heading_of_it_or_out_of_the_repository() -> None:
    anchors = set(re.findall(r' id="([^"]+)"', PAGE.read_text()))
    links = re.findall(r'href="([^"]+)"', PAGE.read_text())
    assert links
    assert [link for link in links if not link.startswith("http") and link.removeprefix("#") not in anchors] == []


def test_the_runbook_has_no_heading_without_an_alert() -> None:
    assert sorted(re.findall(r"^## (.+)$", DOCUMENT.read_text(), re.MULTILINE)) == ALERTS


def test_every_expression_names_series_that_are_exported_or_recorded() -> None:
    known = exported() | {rule["record"] for rule in rules("record")}
    for rule in rules("expr"):
        named = metrics(rule["expr"])
        assert named, rule
        assert {name for name in named - known if not OF_OTHERS.fullmatch(name)} == set(), rule


def test_what_the_runbook_names_is_exported_or_recorded() -> None:
    known = exported() | {rule["record"] for rule in rules("record")}
    words = re.findall(r"`((?:flash_sale|http_server|telemetry)_\w+|[a-z_]+:[a-z_]+:\w+)", DOCUMENT.read_text())
    assert words
    assert set(words) - known == set()


def test_recorded_series_say_their_level_metric_and_operation() -> None:
    assert [rule["record"] for rule in rules("record") if not RECORDED.fullmatch(rule["record"])] == []


def test_the_alerts_know_every_job_that_is_scraped() -> None:
    config = yaml.safe_load((HOME.parent / "prometheus.yml").read_text())
    assert sorted(job["job_name"] for job in config["scrape_configs"]) == sorted(
        (*SERVICE_JOBS, FRONT_JOB, *OTHER_JOBS)
    )


@pytest.mark.parametrize(
    ("severity", "told"), [("page", "page"), ("ticket", "ticket"), ("info", "info"), ("none", "watchdog")]
)
def test_alertmanager_tells_the_one_who_should_know(severity: str, told: str) -> None:
    config = ROOT / "monitoring" / "alertmanager" / "alertmanager.yml"
    run("amtool", "check-config", config)
    receiver = run("amtool", "config", "routes", "test", f"--config.file={config}", f"severity={severity}")
    assert receiver.strip() == told


def test_what_inhibits_and_what_is_inhibited_are_alerts() -> None:
    config = yaml.safe_load((ROOT / "monitoring" / "alertmanager" / "alertmanager.yml").read_text())
    sides = [side for rule in config["inhibit_rules"] for side in (rule["source_matchers"], rule["target_matchers"])]
    names = [name for side in sides for text in side for name in re.findall(r'alertname=~?"([^"]+)"', text)]
    assert names
    assert {alert for name in names for alert in name.split("|")} - set(ALERTS) == set()
