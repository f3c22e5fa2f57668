"""The collector with its unmodified configuration: what it accepted arrives, whoever is restarted; the overlay."""

import json
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.stack import Stack
from deploy.stack.compose import ROOT
from tests.stack.conftest import started
from tests.stack.sale import LAMP, SHOPPER, Load, Sale, Span
from tests.support import eventually, executable
from tests.support.http import http_get
from tests.support.processes import run

CONFIG = ROOT / "otel-collector.yaml"
OVERLAY = ROOT / "otel-collector.tail-sampling.yaml"
TRACED = ("redis", "api-1", "worker", "otel-collector", "jaeger", "prometheus")
EVERY_TRACE = {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_SCHEDULE_DELAY": "500"}
KEY = "a-key-for-tests-that-is-long-enough-for-hmac"

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("files", [(CONFIG,), (CONFIG, OVERLAY)], ids=["alone", "with the overlay"])
def test_the_collector_calls_its_configuration_valid(files: tuple[Path, ...]) -> None:
    argv = [executable("otelcol"), "validate", *(f"--config={file}" for file in files)]
    env = {**os.environ, "REDACTION_KEY": KEY, "STATE_DIRECTORY": "/tmp"}  # noqa: S108 - nothing is written there
    done = run(argv, env=env)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Sale]:
    """Yield a sale on a stack of its own in which every request is recorded."""
    environment = {"api-1": EVERY_TRACE, "worker": EVERY_TRACE}
    with started(tmp_path, parts=TRACED, environment=environment) as stack, Sale(stack) as sale:
        sale.offer("lamp", LAMP)
        yield sale


def samples(url: str, name: str) -> list[float]:
    """Return the values of a metric's series that have no error, as its target shows them."""
    return [
        sample.value
        for family in text_string_to_metric_families(http_get(url, timeout=20).text)
        for sample in family.samples
        if sample.name == name and not sample.labels.get("error_type")
    ]


class Counts:
    """What the parts say about spans."""

    def __init__(self, sale: Sale) -> None:
        self._sale = sale

    def service(self, name: str) -> int:
        """Return a sum over the API and the worker."""
        return sum(int(sum(samples(f"{self._sale.stack.url(part)}/metrics", name))) for part in ("api-1", "worker"))

    def exported(self) -> int:
        """Spans that a collector accepted."""
        return self.service("otel_sdk_exporter_span_exported_total")

    def flushed(self) -> bool:
        """Whether every span that was begun has been accepted."""
        return self.exported() == self.service("otel_sdk_span_started_total")

    def queued(self) -> int:
        """Spans in the collector's queue."""
        url = self._sale.stack.url("otel-collector").replace("4318", "8888")
        return int(sum(samples(f"{url}/metrics", "otelcol_exporter_queue_size")))

    def arrived(self) -> int:
        """Different spans in Jaeger, which forgets when it is restarted."""
        traces = self._sale.traces() + self._sale.traces("flash-sale-worker")
        return len({span["spanID"] for trace in traces for span in trace})


def quiet(sale: Sale, load: Load) -> Counts:
    """Wait until all orders are settled and all spans accepted."""
    counts = Counts(sale)
    eventually(lambda: sale.get("/orders/queue").json()["length"] == 0, 60, "all orders are settled")
    eventually(counts.flushed, 60, "all spans are accepted")
    assert load.accepted
    return counts


def test_what_was_accepted_arrives_although_everything_is_restarted_in_turn(traced: Sale) -> None:
    """Jaeger is away under load and the collector killed meanwhile: its queue is on disk. No order is slower for it."""
    before, during = Load(traced), Load(traced)
    before.send(100)
    counts = quiet(traced, before)
    eventually(lambda: counts.queued() == 0, 30, "Jaeger has them")
    already = counts.exported()

    traced.stack.stop("jaeger")
    during.send(150)
    counts = quiet(traced, during)
    waiting = counts.exported() - already
    assert waiting >= 150 * 5
    eventually(lambda: counts.queued() >= waiting - 2048, 30, "the collector's queue has them")

    traced.stack.kill("otel-collector")
    during.send(50)
    traced.stack.start("otel-collector")
    during.send(50)
    traced.stack.start("jaeger")
    during.send(20)
    traced.stack.restart("prometheus")
    during.send(20)

    counts = quiet(traced, during)
    eventually(lambda: counts.arrived() == counts.exported() - already, 60, "Jaeger has every span that was accepted")
    assert counts.arrived() >= 290 * 5
    assert statistics.median(during.milliseconds) < 5 * statistics.median(before.milliseconds) + 20


def test_the_overlay_keeps_every_error_and_some_of_the_rest(tmp_path: Path) -> None:
    """Traces with an error are whole, their exception in them; of the others a tenth is left; the counts have all."""
    mounted = "/etc/otelcol/otel-collector.tail-sampling.yaml"
    broken = {**EVERY_TRACE, "PAYMENT_ERROR_RATE": "1", "ORDER_ATTEMPTS": "1"}
    options = {
        "parts": TRACED,
        "environment": {"api-1": EVERY_TRACE, "worker": broken},
        "arguments": {"otel-collector": (f"--config={mounted}",)},
    }
    with started(tmp_path, **options) as stack, Sale(stack) as sale:
        sale.offer("lamp", LAMP)
        load = Load(sale)
        load.send(15)
        for _ in range(150):
            sale.get("/inventory/lamp")

        wanted = {"POST /orders", "EVALSHA place", "process flash_sale.orders", "charge"}

        def failed() -> list[list[Span]]:
            traces = sale.traces("flash-sale-worker", operation="charge")
            return [trace for trace in traces if wanted <= {span["operationName"] for span in trace}]

        eventually(lambda: len(failed()) == 15, 60, "each order that failed is in Jaeger, whole")
        for trace in failed():
            charge = next(span for span in trace if span["operationName"] == "charge")
            fields = {field["key"]: field["value"] for field in charge["logs"][0]["fields"]}
            assert fields["exception.type"].endswith("PaymentUnavailable")
        seen = 'sum(traces_span_metrics_calls_total{span_name="GET /inventory/{product_id}"})'
        eventually(lambda: sale.value(seen) == 150, 60, "the span metrics have all requests")
        assert len(sale.traces(operation="GET /inventory/{product_id}")) < 60


def test_log_lines_are_kept_without_names(sale: Sale, stack: Stack) -> None:
    """The collector writes them to its files, with their trace; who asked is hashed there, too."""
    sale.get("/orders", user_id=SHOPPER)
    sale.settled(sale.post().json()["order_id"])
    file = stack.parts["otel-collector"].place.directory / "root/var/lib/otelcol/logs.json"

    def bodies() -> list[str]:
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [
            record["body"]["stringValue"]
            for line in lines
            for resource in line["resourceLogs"]
            for scope in resource["scopeLogs"]
            for record in scope["logRecords"]
        ]

    eventually(lambda: any("startup complete" in body for body in bodies()), 30, "the log lines are kept")
    assert "lovelace" not in file.read_text()
