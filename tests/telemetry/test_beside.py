"""Beside logfire and Sentry, in both orders of set-up; skipped where they are not installed.

`make matrix` runs it with each of them in an environment of its own (docs/moving.md of the package says the versions).
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

INTERCEPTORS = ("contrib", "native", "lean")
ROOT = Path(__file__).parents[2]
SERVE = """
import asyncio, json, sys
from collections import Counter
import httpx
from fastapi import FastAPI
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
try:
    from truemeter import Telemetry
except ImportError:
    from telemetry import Telemetry

ours = InMemorySpanExporter()

def make(**options):
    app = FastAPI()

    @app.get("/items/{item}")
    async def item(item: str) -> str:
        return handle(item)

    Telemetry("shop", span_processors=[SimpleSpanProcessor(ours)], **options).install(app)
    return app

async def ask(app):
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            for _ in range(30):
                assert (await client.get("/items/lamp")).json() == "lamp"
            await client.get("/items/crash")
            text = (await client.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
    return sorted(float(line.rsplit(" ", 1)[1]) for line in lines)

def names(exporter):
    return Counter(span.name for span in exporter.get_finished_spans())

def say(counts, theirs):
    print(json.dumps([counts, dict(names(ours)), dict(theirs)]))
"""
LOGFIRE = """
import logfire

theirs = InMemorySpanExporter()

def set_up():
    logfire.configure(
        send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(theirs)], metrics=False
    )

def handle(item):
    with logfire.span("work"):
        assert item != "crash"
        return item

if sys.argv[1] == "first":
    set_up()
    app = make()
else:
    app = make()
    set_up()
counts = asyncio.run(ask(app))
say(counts, names(theirs))
"""
SENTRY = """
import sentry_sdk
from sentry_sdk.transport import Transport

sent = Counter()

class Kept(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            sent[f"{item.type} {(item.payload.json or {}).get('transaction')}"] += 1

def set_up():
    sentry_sdk.init(dsn="http://key@localhost:1/1", traces_sample_rate=1.0, transport=Kept)

def handle(item):
    assert item != "crash"
    return item

if sys.argv[1] == "first":
    set_up()
    app = make()
else:
    app = make()
    set_up()
counts = asyncio.run(ask(app))
sentry_sdk.flush(1)
say(counts, {name: number for name, number in sent.items() if "items" in name})
"""
SPANS = {"GET /items/{item}": 31}


def run(directory: Path, script: str, order: str, interceptor: str) -> tuple[list[object], str]:
    """Return what a script says, and what it logs."""
    (directory / "shop.py").write_text(SERVE + script)  # logfire reads the code that calls it
    done = subprocess.run(
        [sys.executable, str(directory / "shop.py"), order],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "TELEMETRY_INTERCEPTOR": interceptor, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    said: list[object] = json.loads(done.stdout.splitlines()[-1])
    return said, done.stderr


@pytest.mark.skipif(not find_spec("logfire"), reason="logfire is not installed")
@pytest.mark.parametrize("interceptor", INTERCEPTORS)
def test_logfire_first(interceptor: str, tmp_path: Path) -> None:
    """It is the host: all spans are in both, in one trace for a request."""
    said, logged = run(tmp_path, LOGFIRE, "first", interceptor)
    assert said == [[1, 30], SPANS | {"work": 31}, SPANS | {"work": 31}]
    assert "provider was set after" not in logged


@pytest.mark.skipif(not find_spec("logfire"), reason="logfire is not installed")
@pytest.mark.parametrize("interceptor", INTERCEPTORS)
def test_logfire_after_it_is_told(interceptor: str, tmp_path: Path) -> None:
    """Every request is counted, but its spans are torn: one line says what to do."""
    said, logged = run(tmp_path, LOGFIRE, "last", interceptor)
    assert said == [[1, 30], SPANS, {"work": 31}]
    assert "make Telemetry after it" in logged


@pytest.mark.skipif(not find_spec("sentry_sdk"), reason="sentry-sdk is not installed")
@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("interceptor", INTERCEPTORS)
def test_sentry(interceptor: str, order: str, tmp_path: Path) -> None:
    """Its transactions and its error, and our spans and counts."""
    said, _ = run(tmp_path, SENTRY, order, interceptor)
    assert said == [[1, 30], SPANS, {"transaction /items/{item}": 31, "event /items/{item}": 1}]
