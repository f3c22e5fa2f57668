"""A real Prometheus counts what happened, whoever is killed meanwhile."""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.crowd import CrowdPlan, CrowdReport, run_crowd
from tests.support import Program, RedisServer, eventually, executable, free_port
from tests.support.http import http_get
from tests.support.processes import alive
from tests.support.service import ADMIN, Fleet

pytestmark = pytest.mark.timeout(300)

LAMP = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": 400}


class Prometheus:
    """A Prometheus that scrapes the fleets once a second."""

    def __init__(self, directory: Path, fleets: list[Fleet]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        targets = [fleet.url.removeprefix("http://") for fleet in fleets]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "flash-sale", "static_configs": [{"targets": targets}]}],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))
        self.program = Program(
            [
                executable("prometheus"),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ]
        )

    def value(self, query: str) -> float:
        """Evaluate a query that has one value, 0 when it has none."""
        answer = http_get(f"{self.url}/api/v1/query", params={"query": query}, timeout=10)
        result = answer.json()["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    def ready(self) -> bool:
        """Whether every target has been scraped."""
        try:
            if http_get(f"{self.url}/-/ready", timeout=10).status_code != httpx.codes.OK:
                return False
            return self.value("count(up == 1)") == 2
        except httpx.TransportError:
            return False


@pytest.fixture
def fleets(valkey_server: RedisServer) -> Iterator[list[Fleet]]:
    """Two replicas of four API processes; the first has the order worker."""
    with ExitStack() as stack:
        found = [stack.enter_context(Fleet(valkey_server.url, api=4, workers=int(n == 0))) for n in range(2)]
        with found[0].client() as client:
            client.put("/inventory/lamp", json=LAMP, headers=ADMIN).raise_for_status()
        yield found


def sums(fleets: list[Fleet]) -> dict[str, Counter[str]]:
    """Add up what the targets say, each asked once; a series that one target gives twice is an error."""
    found: dict[str, Counter[str]] = {"orders": Counter(), "rejections": Counter()}
    for fleet in fleets:
        seen = set()
        for family in text_string_to_metric_families(http_get(f"{fleet.url}/metrics", timeout=10).text):
            for sample in family.samples:
                series = (sample.name, *sorted(sample.labels.items()))
                assert series not in seen, series
                seen.add(series)
                if sample.name == "flash_sale_orders_total":
                    found["orders"][sample.labels["status"]] += int(sample.value)
                elif sample.name == "flash_sale_rejections_total":
                    found["rejections"][sample.labels["reason"]] += int(sample.value)
    return found


async def crowd(fleet: Fleet, orders: int, seed: int) -> CrowdReport:
    """Send orders to one replica."""
    plan = CrowdPlan(base_url=fleet.url, orders=orders, concurrency=16, mix={"lamp": 1}, quantities={1: 1}, seed=seed)
    report = await run_crowd(plan)
    assert report.unknown == report.unreached == 0, report
    return report


def refused(reports: list[CrowdReport]) -> Counter[str]:
    """Return what the clients were refused, by code."""
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update({o.code: o.count for o in report.outcomes if o.code not in ("accepted", "replayed")})
    return counts


def exports(fleet: Fleet) -> bool:
    """Whether this replica exports the ledger's series now."""
    return "flash_sale_orders_total" in http_get(f"{fleet.url}/metrics", timeout=10).text


def agree(fleets: list[Fleet], reports: list[CrowdReport], orders: int) -> None:
    """Wait until every scrape has all orders and all refusals that the clients saw."""
    assert sum(report.accepted for report in reports) == orders
    eventually(lambda: sums(fleets)["orders"]["confirmed"] == orders, 30, "every scrape has all orders")
    eventually(lambda: sums(fleets)["rejections"] == refused(reports), 10, "and all refusals")


def hang_and_kill_the_holder(fleets: list[Fleet], orders: int) -> None:
    """Let the replica that exports the ledger's series stand still, go on when another has taken over, and die."""
    holder = next(fleet for fleet in fleets if exports(fleet))
    other = next(fleet for fleet in fleets if fleet is not holder)
    for slot in range(4):  # killed ones would be back before the lease ends, and keep it
        holder.kill(f"api-{slot}", signal.SIGSTOP)
    eventually(lambda: exports(other), 30, "it is taken over")
    for slot in range(4):
        holder.kill(f"api-{slot}", signal.SIGCONT)
    for _ in range(20):
        assert sums(fleets)["orders"]["pending"] in (0, orders), "a scrape doubled"
    killed = [holder.kill(f"api-{slot}") for slot in range(4)]
    eventually(lambda: not any(alive(pid) for pid in killed), 10, "they are dead")
    holder.wait_until_ready()


async def test_every_sum_is_exact_while_processes_die_and_the_lease_holder_hangs(
    fleets: list[Fleet], tmp_path: Path
) -> None:
    prometheus = Prometheus(tmp_path, fleets)
    with prometheus.program:
        eventually(prometheus.ready, 30, "prometheus scrapes both")
        eventually(lambda: prometheus.value("count(flash_sale_orders_total == 0)") == 6, 10, "all counters are at 0")
        began = time.time()
        reports = [await crowd(fleets[0], 250, 1), await crowd(fleets[1], 250, 2)]
        agree(fleets, reports, 400)

        victim = fleets[0].kill("api-1")
        fleets[0].wait_for_restart("api-1", victim)
        fleets[0].wait_until_ready()
        hang_and_kill_the_holder(fleets, 400)

        with fleets[0].client() as client:
            client.put("/inventory/lamp", json={**LAMP, "stock": 100}, headers=ADMIN).raise_for_status()
        reports.append(await crowd(fleets[1], 150, 3))
        agree(fleets, reports, 500)

        span = int(time.time() - began) + 10
        # Another replica's series begins where the last one's ended: what grows is the sum, so its growth is asked for.
        total = f'sum(flash_sale_orders_total{{status="confirmed"}})[{span}s:1s]'
        growth = f"max_over_time({total}) - min_over_time({total})"
        eventually(lambda: prometheus.value(growth) == 500, 20, "prometheus has counted them all")
        # increase() extrapolates to the ends of its window: by up to 1.1 of the 20 s that this takes.
        assert prometheus.value(f"increase({total})") == pytest.approx(500, rel=0.1)
