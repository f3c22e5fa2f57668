"""A real Prometheus scrapes a real service: it takes OpenMetrics, and its exemplars lead to traces."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import Program, eventually, executable, free_port
from tests.support.http import http_get, http_session
from tests.telemetry.collector import Collector

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: shop
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
COUNT = 'http_server_request_duration_seconds_count{http_route="/items/{item}"}'
BUCKET = 'http_server_request_duration_seconds_bucket{http_route="/items/{item}"}'


class Prometheus:
    """The query API of a Prometheus on a port of its own."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer, or None while there is none."""
        try:
            return http_get(self._url + path, params=parameters, timeout=10).json().get("data")
        except (httpx.TransportError, json.JSONDecodeError):
            return None

    def value(self, query: str) -> float | None:
        """Return the value of a query that gives one series at most."""
        data = self.ask("/query", query=query)
        return float(data["result"][0]["value"][1]) if data and data["result"] else None


@pytest.fixture
def shop() -> Iterator[tuple[int, Collector]]:
    """Yield the port of a shop that exports each trace at once, and its collector."""
    port = free_port()
    with Collector() as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with Program.python("-m", "tests.telemetry.shop", str(port), env=environ) as program:
            program.wait_for_line("Uvicorn running")
            yield port, collector


def test_a_real_prometheus_takes_every_sample_and_exemplar(shop: tuple[int, Collector], tmp_path: Path) -> None:
    port, collector = shop
    here = free_port()
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=port))
    arguments = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    arguments += [f"--web.listen-address=127.0.0.1:{here}", "--enable-feature=exemplar-storage"]
    argv = [executable("prometheus"), *arguments]
    with Program(argv) as server, http_session(f"http://127.0.0.1:{port}") as client:
        prometheus = Prometheus(here)
        eventually(lambda: prometheus.value("up"), 60, "Prometheus has scraped the shop")
        for item in range(20):
            client.get(f"/items/{item}")
        eventually(lambda: prometheus.value(COUNT) == 20, 30, "all requests are in Prometheus")

        def exemplars() -> Any:
            return prometheus.ask("/query_exemplars", query=BUCKET, start="0", end="9999999999")

        found = [each for series in eventually(exemplars, 30, "exemplars") for each in series["exemplars"]]
        sent = {(span.trace_id.hex(), span.span_id.hex()) for span in collector.spans()}
        assert {(each["labels"]["trace_id"], each["labels"]["span_id"]) for each in found} <= sent
        target = prometheus.ask("/targets")["activeTargets"][0]
        assert (target["health"], target["lastError"]) == ("up", "")
        complaints = [line for line in server.lines if "scrape" in line and "level=INFO" not in line]
        assert complaints == []
