"""Metrics that the host keeps with prometheus_client: in the same answer, of all workers."""

import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    Summary,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.parser import text_string_to_metric_families as plain
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from telemetry import CounterSpec, GaugeSpec, Telemetry, TelemetrySettings
from tests.support.processes import run

TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text"
BOTH = pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
ORDERS = CounterSpec(name="shop.orders", unit="{order}", description="Orders.")
STOCK = GaugeSpec(name="shop.stock", unit="{unit}", description="Units.", scope="fleet")
MULTIPROCESS = """
import sys
from prometheus_client import REGISTRY, Counter
from telemetry import Telemetry, TelemetrySettings
jobs = Counter("host_jobs", "Jobs.", ["queue"])
jobs.labels("a").inc(3)
telemetry = Telemetry(TelemetrySettings(service_name="s", worker="w"), set_global=False, registries=[REGISTRY])
print(telemetry.exposition()[0].decode())
"""


def new(*registries: Collector, worker: str = "w", directory: Path | None = None) -> Telemetry:
    """Return a telemetry that shows registries."""
    settings = TelemetrySettings(service_name="shop", worker=worker, socket_dir=directory)
    return Telemetry(settings, set_global=False, strict=True, registries=registries)


def families(text: bytes, accept: str) -> dict[str, Metric]:
    """Parse an answer, in which no family is twice."""
    found = list((strict if accept == OPENMETRICS else plain)(text.decode()))
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


def host_registry(jobs: int = 2) -> CollectorRegistry:
    """Return a registry with a metric of every kind."""
    registry = CollectorRegistry()
    Counter("host_jobs", "Jobs.", ["queue"], registry=registry).labels("a").inc(jobs, {"trace_id": "1f"})
    Gauge("host_open", "Open.", registry=registry).set(4)
    Summary("host_size_bytes", "Size.", registry=registry).observe(3)
    Histogram("host_wait_seconds", "Wait.", registry=registry, buckets=(0.5, 1)).observe(0.7)
    Info("host_build", "Build.", registry=registry).info({"version": "1"})
    Enum("host_state", "State.", states=["up", "down"], registry=registry).state("down")
    return registry


@BOTH
def test_every_kind_of_metric_is_shown(accept: str) -> None:
    """Beside our own, with the label of the process; exemplars, too, where the format has them."""
    telemetry = new(host_registry())
    telemetry.counter(ORDERS).add(1)
    text = telemetry.exposition(accept)[0]
    found = families(text, accept)
    assert {
        "shop_orders",
        "host_jobs",
        "host_open",
        "host_size_bytes",
        "host_wait_seconds",
        "host_state",
    } <= found.keys()
    assert b'host_jobs_total{queue="a",worker="w"} 2.0' in text
    assert b'host_wait_seconds_bucket{le="1.0",worker="w"} 1.0' in text
    assert b'host_build_info{version="1",worker="w"} 1.0' in text
    assert b'host_state{host_state="down",worker="w"} 1.0' in text
    assert (b'# {trace_id="1f"} 2.0' in text) is (accept == OPENMETRICS)


@BOTH
def test_the_figures_of_the_process_are_there_once(accept: str, caplog: pytest.LogCaptureFixture) -> None:
    """prometheus_client's default registry has them, too; what else it has of Python is shown."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    found = families(new(registry).exposition(accept)[0], accept)
    assert {"process_resident_memory_bytes", "python_info", "python_gc_collections"} <= found.keys()
    assert caplog.messages == []


@BOTH
async def test_over_several_workers_nothing_is_added_up_and_nothing_is_missing(accept: str, tmp_path: Path) -> None:
    """Each process has series of its own, so a sum over them is exact, whoever is asked."""
    async with AsyncExitStack() as stack:
        members = [new(host_registry(n), worker=f"w{n}", directory=tmp_path) for n in (1, 2, 3)]
        for member in members:
            await stack.enter_async_context(member.serving_peers())
        for member in members:
            text, _ = await member.exposition_of_all(accept)
            found = families(text, accept)
            jobs = {s.labels["worker"]: s.value for s in found["host_jobs"].samples if s.name == "host_jobs_total"}
            assert jobs == {"w1": 1, "w2": 2, "w3": 3}
            assert sorted(s.labels["worker"] for s in found["host_open"].samples) == ["w1", "w2", "w3"]


class Broken(Collector):
    """A collector that fails after its first family."""

    def collect(self) -> Iterable[Metric]:
        """Fail."""
        yield GaugeMetricFamily("before", "Before.", value=1)
        raise ZeroDivisionError


class Given(Collector):
    """Families as they are given."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Give them."""
        return self._families


@BOTH
def test_a_registry_that_fails_costs_no_scrape(accept: str, caplog: pytest.LogCaptureFixture) -> None:
    """The others are shown and the failure is in the log."""
    telemetry = new(Broken(), host_registry())
    found = families(telemetry.exposition(accept)[0], accept)
    assert "host_jobs" in found
    assert "before" not in found
    assert "a registry of prometheus_client's cannot be read" in caplog.text


def test_a_family_that_cannot_be_written_costs_itself(caplog: pytest.LogCaptureFixture) -> None:
    """OpenMetrics has no exemplars on a summary, and prometheus_client raises at one."""
    wrong = Metric("wrong", "Wrong.", "summary")
    wrong.add_sample("wrong_sum", {}, 1, exemplar=Exemplar({"trace_id": "1f"}, 1))
    found = families(new(Given(wrong), host_registry()).exposition(OPENMETRICS)[0], OPENMETRICS)
    assert "host_size_bytes" in found
    assert "wrong" not in found
    assert "wrong cannot be written" in caplog.text


@BOTH
@pytest.mark.parametrize(
    "clash",
    [
        GaugeMetricFamily("shop_orders_total", "Another.", value=77123.5),
        GaugeMetricFamily("shop_orders", "Another.", value=77123.5),
        GaugeMetricFamily("shop_stock", "Another.", value=77123.5),
    ],
    ids=lambda family: str(family.name),
)
def test_a_name_of_ours_stays_ours(clash: Metric, accept: str, caplog: pytest.LogCaptureFixture) -> None:
    """Two families of one name are no valid exposition: the host's is left out, and told once."""
    telemetry = new(Given(clash), host_registry())
    telemetry.counter(ORDERS).add(1)
    telemetry.observe(STOCK, lambda: [(3, {})])
    for _ in range(2):
        text = telemetry.exposition(accept)[0]
        assert {"shop_orders", "shop_stock", "host_jobs"} <= families(text, accept).keys()
        assert b"77123.5" not in text
    assert [line for line in caplog.messages if "another metric has that name" in line] == [
        f"{clash.name} of a registry is not exported: another metric has that name"
    ]


def test_a_label_worker_of_the_host_s_own_is_kept_under_another_name() -> None:
    """As Prometheus renames what a target says of itself."""
    registry = CollectorRegistry()
    Gauge("host_busy", "Busy.", ["worker"], registry=registry).labels("celery-1").set(1)
    assert b'host_busy{exported_worker="celery-1",worker="w"} 1.0' in new(registry).exposition()[0]


def test_prometheus_client_s_own_mode_for_several_processes_does_no_harm(tmp_path: Path) -> None:
    """A registry in it shows its own process's figures, once."""
    done = run([sys.executable, "-c", MULTIPROCESS], env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("host_jobs_total")] == [
        'host_jobs_total{queue="a",worker="w"} 3.0'
    ]
