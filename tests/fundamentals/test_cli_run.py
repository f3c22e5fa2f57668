"""`run`, `api`, `worker` and `crowd` as programs: how they start, serve together, and end."""

import re
import signal
from pathlib import Path

import pytest

from tests.support import Program, RedisServer, eventually
from tests.support.http import http_get
from tests.support.processes import alive
from tests.support.service import Fleet


def test_run_on_an_embedded_store_says_where_everything_is(tmp_path: Path) -> None:
    """The addresses and a token of its own, which opens the admin routes; the crowd buys by itself."""
    with Fleet(tmp_path, env={"ADMIN_TOKEN": "", "CROWD": "20"}) as fleet, fleet.client() as client:
        shown = dict(re.findall(r"^(\w[\w -]*\w)  +(\S+)$", fleet.log, re.MULTILINE))
        assert shown["flash-sale"] == fleet.url.replace("127.0.0.1", "localhost")
        assert {"api docs", "metrics", "store", "admin token"} <= shown.keys()
        headers = {"Authorization": f"Bearer {shown['admin token']}"}
        assert client.patch("/inventory/sticker-pack", json={"price": 1}, headers=headers).status_code == 200
        eventually(lambda: client.get("/monitoring/metrics").json()["orders"]["confirmed"] >= 5, 30, "the crowd buys")
        assert fleet.terminate() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """Every process of it, the store last; in time, without a traceback, with status 0."""
    with Fleet(tmp_path, api=2, workers=2, env={"CROWD": "20"}) as fleet:
        pids = [fleet.pid(role) for role in ("api-0", "api-1", "order-0", "order-1", "crowd")]
        assert fleet.terminate(number, deadline_seconds=20) == 0
        assert [pid for pid in pids if alive(pid)] == []
        assert "Traceback" not in fleet.log
        assert [line for line in fleet.lines if line["level"] in ("error", "critical")] == []


def test_two_api_processes_both_serve(valkey_server: RedisServer) -> None:
    """On one port; when one is killed the other goes on, and the first comes back."""
    with Fleet(valkey_server.url, command="api", api=2) as fleet:

        def served_by() -> set[str]:
            for _ in range(30):
                assert http_get(f"{fleet.url}/inventory").status_code == 200
            text = http_get(f"{fleet.url}/metrics").text
            counts = re.findall(r'http_server_request_duration_seconds_count\{.*worker="(api-\d)"', text)
            return set(counts)

        eventually(lambda: served_by() == {"api-0", "api-1"}, 30, "both have served")
        old = fleet.kill("api-0")
        assert http_get(f"{fleet.url}/healthz", timeout=30).status_code == 200
        assert fleet.wait_for_restart("api-0", old) != old


def test_a_worker_alone_serves_its_metrics(valkey_server: RedisServer) -> None:
    """`/metrics`, `/healthz` and `/readyz` on the port of the exporter."""
    with Fleet(valkey_server.url, command="worker", workers=1) as fleet, fleet.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert 'worker="order-0"' in client.get("/metrics").text
        assert client.get("/orders").status_code == 404
        assert fleet.terminate() == 0


def test_an_unknown_variable_of_ours_is_pointed_out(valkey_server: RedisServer) -> None:
    """Once, and the service starts."""
    with Fleet(valkey_server.url, command="api", env={"PAYMENT_DECLINE_RATES": "1"}) as fleet:
        line = "flash-sale: PAYMENT_DECLINE_RATES is not a setting; did you mean PAYMENT_DECLINE_RATE?"
        assert line in fleet.log


def test_a_crowd_that_is_interrupted_says_what_it_met(valkey_server: RedisServer) -> None:
    """Ctrl-C gives the figures so far, one line that says so, and status 130."""
    with Fleet(valkey_server.url) as fleet, fleet.client() as client:
        argv = ("-m", "service", "crowd", "--url", fleet.url, "--rate", "50", "--duration", "300")
        with Program.python(*argv) as crowd:
            eventually(lambda: client.get("/monitoring/metrics").json()["orders"]["pending"] >= 10, 30, "orders come")
            assert crowd.signal(signal.SIGINT) == 130
            assert "interrupted by SIGINT" in crowd.output
            assert re.search(r"^answer 202 +\d+ accepted$", crowd.output, re.MULTILINE)
            assert "Traceback" not in crowd.output


def test_a_crowd_counts_what_the_ledger_counts(valkey_server: RedisServer) -> None:
    """Accepted by the crowd's book is accepted in the ledger."""
    with Fleet(valkey_server.url) as fleet, fleet.client() as client:
        argv = ("-m", "service", "crowd", "--url", fleet.url, "--rate", "0", "--orders", "200", "--seed", "7")
        with Program.python(*argv) as crowd:
            assert crowd.process.wait(60) == 0
            (accepted,) = re.findall(r"^answer 202 +(\d+) accepted$", crowd.output, re.MULTILINE)
        assert client.get("/orders/queue").status_code == 200
        eventually(
            lambda: client.get("/monitoring/metrics").json()["orders"]["pending"] == int(accepted), 10, "counts agree"
        )
