"""An application whose lifespan nobody runs: the telemetry starts with its first request, and says so once."""

import asyncio
import logging
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families as parse

from telemetry import Telemetry, TelemetrySettings
from telemetry.settings import INTERCEPTORS
from tests.support import Program, eventually, free_port
from tests.support.http import http_get
from tests.telemetry.collector import Collector

ROOT = Path(__file__).parents[2]
SAID = "nobody ran the application's lifespan"
COUNT = "http_server_request_duration_seconds_count"
SHOP = """
import os
from fastapi import FastAPI
from telemetry import Telemetry

app = FastAPI()

@app.get("/who")
async def who() -> int:
    return os.getpid()

Telemetry("shop").install(app)
host = FastAPI()
host.mount("/shop", app)
"""
SERVERS = {
    "uvicorn": "uvicorn shop:app --lifespan off --port {port}",
    "uvicorn with workers": "uvicorn shop:app --lifespan off --workers 3 --port {port}",
    "granian": "granian shop:app --interface asginl --workers 2 --port {port}",
}


class Site:
    """A program that serves, with a collector; its clients count what it answered."""

    def __init__(
        self, command: str, directory: Path, collector: Collector, interceptor: str, script: str = SHOP
    ) -> None:
        (directory / "shop.py").write_text(script)
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        argv = command.format(port=port).split()
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "TELEMETRY_INTERCEPTOR": interceptor,
            "PYTHONPATH": f"{ROOT}:{directory}",
        }
        self.seen: Counter[tuple[str, int]] = Counter()
        self.program = Program([str(Path(sys.executable).parent / argv[0]), *argv[1:]], env=env, cwd=directory)

    def ask(self, path: str = "", times: int = 1) -> bool:
        """Send requests, each over a connection of its own; return whether there is somebody who answers."""
        for _ in range(times):
            try:
                self.seen[path, int(http_get(f"{self._url}{path}/who").text)] += 1
            except httpx.TransportError:
                return False
        return True

    def wait_for_processes(self, path: str, number: int) -> None:
        """Ask until so many have answered."""
        eventually(lambda: self.ask(path) and self.processes(path) == number, 60, f"{number} processes serve {path}")

    def processes(self, path: str = "") -> int:
        """Return how many processes have answered."""
        return len({pid for asked, pid in self.seen if asked == path})

    def answered(self, path: str = "") -> int:
        """Return how many requests were answered."""
        return sum(number for (asked, _), number in self.seen.items() if asked == path)

    def scrape(self, path: str = "") -> float:
        """Return how many requests one scrape says there were."""
        samples = [sample for family in parse(http_get(f"{self._url}{path}/metrics").text) for sample in family.samples]
        return sum(s.value for s in samples if s.name == COUNT and s.labels["http_route"].endswith("/who"))


def servers(collector: Collector) -> list[Span]:
    """Return the spans of requests."""
    return [span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER and span.name.endswith("/who")]


@pytest.mark.parametrize(("server", "processes"), [("uvicorn", 1), ("uvicorn with workers", 3), ("granian", 2)])
def test_every_process_starts_with_its_first_request(server: str, processes: int, tmp_path: Path) -> None:
    """Whoever is scraped answers for all, and no span is lost."""
    with Collector() as collector:
        site = Site(SERVERS[server], tmp_path, collector, "contrib")
        with site.program as program:
            site.wait_for_processes("", processes)
            site.ask(times=20)
            assert [site.scrape() for _ in range(4)] == [site.answered()] * 4
            program.terminate(20)
            assert program.output.count(SAID) == processes
            assert "Traceback" not in program.output
        assert len(servers(collector)) == site.answered()


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
def test_mounted_in_an_application_that_has_none(interceptor: str, tmp_path: Path) -> None:
    """FastAPI's own telemetry measures the outer one as soon as ours is global: a request is one all the same."""
    with Collector() as collector:
        site = Site("uvicorn shop:host --port {port}", tmp_path, collector, interceptor)
        with site.program as program:
            site.wait_for_processes("/shop", 1)
            site.ask("/shop", times=29)
            assert [site.scrape("/shop") for _ in range(2)] == [30, 30]
            program.terminate(20)
            assert program.output.count(SAID) == 1
            assert program.output.count("give that one to telemetry.install(app), too") == 1
            assert "Traceback" not in program.output
        assert len(servers(collector)) == 30


TWO = """
import os
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from telemetry import Telemetry

def make() -> FastAPI:
    app = FastAPI()

    @app.get("/who")
    async def who() -> int:
        return os.getpid()

    Telemetry("shop").install(app)
    return app

host = Starlette(routes=[Mount("/one", make()), Mount("/two", make())])
"""


def test_two_of_one_name_in_each_process_show_their_own(tmp_path: Path) -> None:
    """Whichever process is asked."""
    with Collector() as collector:
        site = Site("uvicorn shop:host --workers 2 --port {port}", tmp_path, collector, "contrib", TWO)
        with site.program:
            site.wait_for_processes("/one", 2)
            site.wait_for_processes("/two", 2)
            site.ask("/two", times=10)
            for path in ("/one", "/two"):
                assert [site.scrape(path) for _ in range(4)] == [site.answered(path)] * 4


def shop(interceptor: Any, spans: InMemorySpanExporter) -> tuple[FastAPI, Telemetry]:
    """Return an application, and its telemetry, which is not started."""
    settings = TelemetrySettings(service_name="shop", sampler="always_on", interceptor=interceptor)
    telemetry = Telemetry(settings, set_global=False, span_processors=[SimpleSpanProcessor(spans)])
    app = FastAPI()
    app.add_api_route("/items/{item}", lambda item: item)
    telemetry.install(app)
    return app, telemetry


def ask(app: FastAPI, *, with_lifespan: bool = False) -> None:
    """Send a request in an event loop of its own, as a client of tests does."""

    async def run() -> None:
        if with_lifespan:
            async with app.router.lifespan_context(app):
                await send()
        else:
            await send()

    async def send() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            assert (await client.get("/items/lamp")).json() == "lamp"

    asyncio.run(run())


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
def test_clients_of_tests_may_come_and_go(interceptor: str, caplog: pytest.LogCaptureFixture) -> None:
    """A lifespan may be run later."""
    spans = InMemorySpanExporter()
    app, telemetry = shop(interceptor, spans)
    for with_lifespan in (False, False, True, False):
        ask(app, with_lifespan=with_lifespan)
    assert [span.name for span in spans.get_finished_spans()] == ["GET /items/{item}"] * 4
    assert [record.message.startswith(SAID) for record in caplog.records if record.levelno >= logging.WARNING] == [True]
    telemetry.shutdown()


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
def test_nothing_is_said_where_it_was_started(interceptor: str, caplog: pytest.LogCaptureFixture) -> None:
    """By a lifespan or by hand; nor does it start again after its end."""
    spans, others = InMemorySpanExporter(), InMemorySpanExporter()
    app, telemetry = shop(interceptor, spans)
    with telemetry:
        ask(app)
    later, _ = shop(interceptor, others)
    ask(later, with_lifespan=True)
    ask(later)
    assert [len(seen.get_finished_spans()) for seen in (spans, others)] == [1, 1]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
