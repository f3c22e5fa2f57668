"""The dashboard and the alerts that ship with `truemeter` ask for what an installed application exports."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi import FastAPI

from monitoring.dashboards.files import text
from monitoring.dashboards.requests import FILE, REQUESTS_DASHBOARD
from telemetry import Telemetry, TelemetrySettings
from telemetry.settings import OtlpSettings
from tests.stack.promql import metrics
from tests.support import executable
from tests.support.processes import run

ALERTS = FILE.parent / "alerts.yaml"
OF_PEERS = {"telemetry_worker_unreachable_total"}  # there once a process has peers
UNITS = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: http_server_request_duration_seconds_count{{job="shop",http_response_status_code="200"}}
        values: 0+100x20
      - series: http_server_request_duration_seconds_count{{job="shop",http_response_status_code="500"}}
        values: 0+10x20
      - series: http_server_request_duration_seconds_count{{job="quiet",http_response_status_code="500"}}
        values: 0+1x20
      - series: http_server_request_duration_seconds_count{{job="well",http_response_status_code="200"}}
        values: 0+100x20
      - series: http_server_request_duration_seconds_bucket{{job="shop",le="1.0"}}
        values: 0+90x20
      - series: http_server_request_duration_seconds_bucket{{job="shop",le="2.5"}}
        values: 0+110x20
      - series: http_server_request_duration_seconds_bucket{{job="shop",le="+Inf"}}
        values: 0+110x20
      - series: telemetry_worker_unreachable_total{{job="shop"}}
        values: 0+1x20
      - series: otel_sdk_processor_span_processed_total{{job="shop",error_type="queue_full"}}
        values: 0+1x20
      - series: telemetry_failures_total{{job="shop",part="span_exporter"}}
        values: 0+1x20
    promql_expr_test:
      - expr: count by (alertname, job) (ALERTS{{alertstate="firing"}})
        eval_time: 15m
        exp_samples:
{samples}
"""


async def exported() -> set[str]:
    """Return the names that an application with the defaults and a collector has at `/metrics`, once it was asked."""
    settings = TelemetrySettings(service_name="shop", otlp=OtlpSettings(traces_endpoint="http://127.0.0.1:9"))
    telemetry, app = Telemetry(settings, set_global=False), FastAPI()
    telemetry.install(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        telemetry.start()
        await client.get("/openapi.json")
        telemetry.shutdown(0.1)
        body = (await client.get("/metrics")).text
    return {re.split(r"[{ ]", line)[0] for line in body.splitlines() if line and not line.startswith("#")}


def expressions() -> dict[str, list[str]]:
    """Return what the panels and the alerts ask."""
    panels: list[dict[str, Any]] = json.loads(FILE.read_text())["panels"]
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    asked = {panel["title"]: [target["expr"] for target in panel.get("targets", [])] for panel in panels}
    return {title: exprs for title, exprs in asked.items() if exprs} | {rule["alert"]: [rule["expr"]] for rule in rules}


def test_the_dashboard_is_what_the_code_makes() -> None:
    """`make dashboards` after a change."""
    assert FILE.read_text() == text(REQUESTS_DASHBOARD)
    assert "flash" not in FILE.read_text() + ALERTS.read_text()


async def test_they_ask_for_what_is_exported() -> None:
    """Of an application with nothing of its own."""
    known = await exported() | OF_PEERS
    for title, asked in expressions().items():
        for expr in asked:
            assert metrics(expr), title
            assert metrics(expr) <= known, title


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """Each of them for a service that is ill, none for one that is well or too quiet to say."""
    promtool = executable("promtool")
    assert "SUCCESS" in run([promtool, "check", "rules", str(ALERTS)], check=True).stdout
    names = [rule["alert"] for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]]
    samples = "\n".join(
        f'          - labels: \'{{alertname="{name}", job="shop"}}\'\n            value: 1' for name in names
    )
    (tmp_path / "test.yaml").write_text(UNITS.format(rules=ALERTS, samples=samples))
    done = run([promtool, "test", "rules", str(tmp_path / "test.yaml")])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("directory", ["here", "not/yet/there"])
def test_they_can_be_copied(directory: str, tmp_path: Path) -> None:
    """`python -m truemeter.monitoring DIRECTORY`."""
    done = run([sys.executable, "-m", "telemetry.monitoring", str(tmp_path / directory)], check=True)
    assert done.stdout.splitlines() == [str(tmp_path / directory / name) for name in ("requests.json", "alerts.yaml")]
    assert (tmp_path / directory / "requests.json").read_text() == FILE.read_text()


def test_a_directory_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    """It is one that a file stands in the way of."""
    (tmp_path / "file").write_text("")
    done = run([sys.executable, "-m", "telemetry.monitoring", str(tmp_path / "file" / "inside")])
    assert done.returncode == 1
    assert done.stderr.startswith(f"python -m truemeter.monitoring: cannot write into {tmp_path}/file/inside: ")
    assert len(done.stderr.splitlines()) == 1
