"""The worker processes of every server find each other with nothing set: each answer is for all, and it is exact.

What a client saw is the truth: each answer says which process gave it.
"""

import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.support import Program, eventually, free_port
from tests.support.processes import send_signal
from tests.telemetry.collector import Collector

ROOT = Path(__file__).parents[2]
WORKERS = CLIENTS = 4
EXAMPLE = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "telemetry" / "README.md").read_text(), re.MULTILINE | re.DOTALL
)[0]
SHOP = f"""
{EXAMPLE.replace("truemeter", "telemetry")}
import os
from opentelemetry.trace import get_current_span
from telemetry import GaugeSpec

async def who():
    get_current_span().set_attribute("pid", os.getpid())
    return os.getpid()

app.add_api_route("/who", who)
app.state.truemeter.observe(GaugeSpec(name="shop.pid", unit="", description="Its id."), lambda: [(os.getpid(), {{}})])
"""
"""The README's example, and what says which process answered."""
SERVERS = {
    "uvicorn": "uvicorn shop:app --workers 4 --port {port}",
    "gunicorn": "gunicorn shop:app -k uvicorn_worker.UvicornWorker -w 4 -b 127.0.0.1:{port}",
    "gunicorn-preload": "gunicorn shop:app --preload -k uvicorn_worker.UvicornWorker -w 4 -b 127.0.0.1:{port}",
    "hypercorn": "hypercorn shop:app -w 4 -b 127.0.0.1:{port}",
    "hypercorn-trio": "hypercorn shop:app -k trio -w 4 -b 127.0.0.1:{port}",
    "granian": "granian shop:app --interface asgi --workers 4 --respawn-failed-workers --port {port}",
}


class Answer(NamedTuple):
    """What one scrape says of each process, by its id."""

    workers: dict[int, str]
    requests: dict[int, float]
    lost: float


class Site:
    """A server, and what its clients saw."""

    def __init__(self, command: str, program: Program, port: int) -> None:
        self.command = command
        self.program = program
        self.port = port
        self.seen: Counter[int] = Counter()

    def get(self, path: str) -> str:
        """Ask whichever process takes the connection, which is a new one."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def scrape(self) -> Answer:
        """Read one answer."""
        samples = [sample for family in parse(self.get("/metrics")) for sample in family.samples]

        def by_worker(name: str, **labels: str) -> dict[str, float]:
            found = [s for s in samples if s.name == name and labels.items() <= s.labels.items()]
            assert len({sample.labels["worker"] for sample in found}) == len(found)
            return {sample.labels["worker"]: sample.value for sample in found}

        pids = {worker: int(pid) for worker, pid in by_worker("shop_pid").items()}
        requests = by_worker("http_server_request_duration_seconds_count", http_route="/who")
        return Answer(
            {pid: worker for worker, pid in pids.items()},
            {pids[worker]: count for worker, count in requests.items()},
            sum(by_worker("telemetry_worker_lost_total").values()),
        )

    def whole(self) -> Answer | None:
        """Read an answer; None without all processes: one of them has not started, or could not answer in time."""
        try:
            answer = self.scrape()
        except (OSError, HTTPException):
            return None
        return answer if len(answer.workers) == WORKERS else None

    def wait(self) -> Answer:
        """Wait until all are there."""
        answer = eventually(self.whole, 60, f"{WORKERS} processes are in an answer:\n{self.program.output}")
        assert answer
        return answer

    def assert_exact(self) -> None:
        """Whoever is asked says the same, and it is what the clients saw."""
        answers = [self.wait() for _ in range(6)]
        live = answers[0].workers
        expected = {pid: count for pid, count in self.seen.items() if pid in live}
        for answer in answers:
            assert answer.requests == expected
            assert sorted(answer.workers.values()) == [f"worker-{number}" for number in range(WORKERS)]

    def ask(self, times: int, stop: threading.Event | None = None) -> None:
        """Send requests, each over a connection of its own; until `stop` is set, if that comes first."""
        for _ in range(times):
            if stop is not None and stop.is_set():
                return
            try:
                pid = int(self.get("/who"))
            except (OSError, HTTPException, ValueError):
                assert stop is not None, "a request failed although nobody was killed"
                continue
            self.seen[pid] += 1


@contextmanager
def serve(server: str, directory: Path, collector: Collector) -> Iterator[Site]:
    """Start a server with nothing set but where spans go, all of them."""
    (directory / "shop.py").write_text(SHOP)
    port = free_port()
    argv = SERVERS[server].format(port=port).split()
    command = [str(Path(sys.executable).parent / argv[0]), *argv[1:]]
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_TRACES_SAMPLER": "always_on"}
    with Program(command, env={"PYTHONPATH": f"{ROOT}:{directory}", **env}, cwd=directory) as program:
        site = Site(server, program, port)
        site.wait()
        yield site


@pytest.mark.parametrize("server", [server for server in SERVERS if server != "hypercorn-trio"])
def test_sums_are_exact_before_and_after_a_process_is_killed_under_load(server: str, tmp_path: Path) -> None:
    """What the killed one had counted is gone with it, and that it was killed is counted once."""
    with Collector() as collector:
        with serve(server, tmp_path, collector) as site:
            site.ask(60)
            site.assert_exact()
            victim, survivors = min(site.seen), set(site.wait().workers)
            survivors.remove(victim)
            kill_under_load(site, victim)
            in_flight = 0
            if server == "hypercorn":  # it ends, and all its processes with it, when one of them does
                site.program.process.wait(20)
                in_flight = CLIENTS
            else:
                after = site.wait()
                assert victim not in after.workers
                assert survivors < set(after.workers)
                assert after.lost == 1
                site.ask(40)
                site.assert_exact()
            site.program.terminate(20)
        del site.seen[victim]
        seen = site.seen
        eventually(lambda: (seen - spans(collector)).total() <= in_flight, 10, f"no span is lost of {seen}")


def test_under_trio_no_span_is_lost(tmp_path: Path) -> None:
    """Nor a measurement."""
    with Collector() as collector:
        with serve("hypercorn-trio", tmp_path, collector) as site:
            site.ask(60)
            site.assert_exact()
            site.program.terminate(20)
            assert "Traceback" not in site.program.output
        assert spans(collector) == site.seen


def spans(collector: Collector) -> Counter[int]:
    """Return how many spans came of each process."""
    attributes = [attribute for span in collector.spans() for attribute in span.attributes]
    return Counter(attribute.value.int_value for attribute in attributes if attribute.key == "pid")


def kill_under_load(site: Site, victim: int) -> None:
    """Kill one process while others and it are asked."""
    stop = threading.Event()
    before = site.seen.total()
    clients = [threading.Thread(target=site.ask, args=(10_000, stop)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        eventually(lambda: site.seen.total() > before + 40, 20, "the load is on")
        send_signal(victim, signal.SIGKILL)
        killed = site.seen.total()
        eventually(lambda: site.seen.total() > killed + 40 or not site.program.running(), 20, "the load goes on")
    finally:
        stop.set()
        for client in clients:
            client.join()
