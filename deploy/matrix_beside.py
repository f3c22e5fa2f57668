"""Is run by `deploy.matrix` with `logfire` or `sentry-sdk` and its argument is which: an application beside it.

Whichever of the two is set up first, 30 requests and a crash are 31 in `/metrics`, and each has the spans that it
should have, in ours and in theirs; under every interceptor.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

INTERCEPTORS: Final = ("contrib", "native", "lean")
SERVE: Final = """
import asyncio, json, sys
from collections import Counter
import httpx
from fastapi import FastAPI
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from truemeter import Telemetry

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
LOGFIRE: Final = """
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
SENTRY: Final = """
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
SPANS: Final = {"GET /items/{item}": 31}
WORK: Final = {"work": 31}
IN_SENTRY: Final = {"transaction /items/{item}": 31, "event /items/{item}": 1}
TORN: Final = "make Telemetry after it"
"""What the log says where a provider came too late for one trace."""
EXPECTED: Final[dict[str, dict[str, tuple[Any, bool]]]] = {
    "logfire": {
        "first": ([[1, 30], SPANS | WORK, SPANS | WORK], False),
        "last": ([[1, 30], SPANS, WORK], True),
    },
    "sentry-sdk": {order: ([[1, 30], SPANS, IN_SENTRY], False) for order in ("first", "last")},
}
SCRIPTS: Final = {"logfire": LOGFIRE, "sentry-sdk": SENTRY}


def run(directory: str, script: str, order: str, interceptor: str) -> tuple[Any, bool]:
    """Return what a script says, and whether it is told that traces are torn."""
    file = Path(directory) / "shop.py"  # logfire reads the code that calls it
    file.write_text(SERVE + script)
    env = {**os.environ, "TELEMETRY_INTERCEPTOR": interceptor}
    argv = [sys.executable, str(file), order]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, env=env)  # noqa: S603 - ours
    if done.returncode:
        raise SystemExit(f"{order}, {interceptor}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1]), TORN in done.stderr


def main() -> None:
    """Run it under every interceptor in both orders; ends with one line if something is not as it should be."""
    library = sys.argv[1]
    with tempfile.TemporaryDirectory() as directory:
        for order, expected in EXPECTED[library].items():
            for interceptor in INTERCEPTORS:
                seen = run(directory, SCRIPTS[library], order, interceptor)
                if seen != expected:
                    raise SystemExit(f"{library} set up {order}, {interceptor}: {seen} and not {expected}")


if __name__ == "__main__":
    main()
