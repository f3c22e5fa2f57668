"""Prometheus with its unmodified configuration: it reads it, scrapes every part, keeps exemplars and its limits."""

import re
import time
from functools import partial

import yaml

from deploy.stack.compose import ROOT
from tests.stack.sale import Load, Sale
from tests.support import eventually, executable
from tests.support.http import http_get
from tests.support.processes import run

CONFIG = ROOT / "monitoring/prometheus/prometheus.yml"
TARGETS = {
    "api-1:8000",
    "api-2:8000",
    "front:8000",
    "worker:9464",
    "otel-collector:8888",
    "otel-collector:8889",
    "jaeger:8888",
    "alertmanager:9093",
    "prometheus:9090",
}


def test_promtool_and_amtool_call_the_configuration_valid() -> None:
    for argv in (
        [executable("promtool"), "check", "config", str(CONFIG)],
        [executable("amtool"), "check-config", str(ROOT / "monitoring/alertmanager/alertmanager.yml")],
    ):
        done = run(argv)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_part_is_scraped(sale: Sale) -> None:
    eventually(lambda: sale.targets() == dict.fromkeys(TARGETS, "up"), 60, f"all are up: {sale.targets()}")
    eventually(lambda: sale.value("count(up == 1)") == len(TARGETS), 30, "and say so")


def test_no_target_is_near_its_limits(sale: Sale) -> None:
    """The limits stand in the configuration; the largest target has a tenth of what is allowed."""
    limits = yaml.safe_load(CONFIG.read_text())["global"]
    assert limits.keys() >= {"sample_limit", "label_limit", "label_name_length_limit", "label_value_length_limit"}
    eventually(lambda: sale.value("max(scrape_samples_scraped)") > 0, 30, "targets have been scraped")
    assert sale.value("max(scrape_samples_scraped)") < limits["sample_limit"] / 10


def test_alertmanager_is_known(sale: Sale) -> None:
    def known() -> list[str]:
        answer = http_get(f"{sale.stack.url('prometheus')}/api/v1/alertmanagers", timeout=10).json()
        return [manager["url"] for manager in answer["data"]["activeAlertmanagers"]]

    eventually(lambda: known() == ["http://alertmanager:9093/api/v2/alerts"], 30, "Prometheus knows where alerts go")


def test_the_runbook_of_an_alert_opens_where_prometheus_is(sale: Sale) -> None:
    """The Watchdog always fires, so there is one to look at."""
    prometheus = sale.stack.url("prometheus")

    def links() -> list[str]:
        alerts = http_get(f"{prometheus}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        return [alert["annotations"]["runbook_url"] for alert in alerts if alert["labels"]["alertname"] == "Watchdog"]

    (link,) = eventually(links, 30, "the Watchdog fires")
    address, _, heading = link.partition("#")
    assert address.startswith(prometheus)
    page = http_get(address, timeout=10)
    assert page.headers["content-type"].startswith("text/html")
    assert f'<h2 id="{heading}">Watchdog</h2>' in page.text


def exemplars(sale: Sale, metric: str, since: float) -> set[str]:
    """Return the traces of a histogram's exemplars."""
    answer = http_get(
        f"{sale.stack.url('prometheus')}/api/v1/query_exemplars",
        params={"query": metric, "start": since, "end": time.time()},
        timeout=20,
    ).json()
    return {exemplar["labels"]["trace_id"] for series in answer["data"] for exemplar in series["exemplars"]}


def test_the_trace_of_every_exemplar_is_in_jaeger(sale: Sale) -> None:
    """Of requests and of orders, over both roles."""
    since = time.time()
    load = Load(sale)
    load.send(60)
    for metric in ("http_server_request_duration_seconds_bucket", "flash_sale_order_processing_seconds_bucket"):
        found = eventually(partial(exemplars, sale, metric, since), 60, f"{metric} has exemplars")
        assert all(re.fullmatch(r"[0-9a-f]{32}", trace) for trace in found)
        for trace in found:
            eventually(partial(sale.trace, trace, least=1), 30, f"{trace} is in Jaeger")
