"""What the telemetry adds to one request, in process: `python -m tests.telemetry.request_cost`.

No server and no handler to speak of, so nearly all of it is the telemetry: CPU time of this process, and the time from
a request to its end, of which half and nine tenths took no longer. The variants take turns. `recorded` makes every span
and exports none; the others record no trace, as most requests of a busy sale.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from fastapi import FastAPI
from opentelemetry import propagate
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

from telemetry import Telemetry, TelemetrySettings
from telemetry.settings import INTERCEPTORS
from telemetry.windows import RequestWindows

ROUNDS = 9
REQUESTS = 4_000
HEADERS = [
    *((b"host", b"127.0.0.1:8000"), (b"user-agent", b"wrk"), (b"accept", b"*/*")),
    *((b"content-type", b"application/json"), (b"content-length", b"63")),
]
VARIANTS = {
    "off": {"OTEL_SDK_DISABLED": "true"},
    **{
        f"{interceptor}{said}": {"TELEMETRY_INTERCEPTOR": interceptor, "TELEMETRY_TRACES_PER_SECOND": per_second}
        for interceptor in INTERCEPTORS
        for said, per_second in (("", "0"), (", recorded", "1000000"))
    },
}


class Answer:
    """A layer that answers by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        del scope
        await receive()
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})


def build(environ: dict[str, str]) -> FastAPI:
    """Build an application of 19 routes."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}  # never started, so nothing goes there
    telemetry = Telemetry(TelemetrySettings.from_env(endpoint | environ, service_name="cost"), set_global=False)
    telemetry.on_request(RequestWindows(None, "", worker="api-0").record)  # type: ignore[arg-type] # it is never flushed
    app = FastAPI(telemetry=telemetry.fastapi_config())
    app.add_middleware(Answer)
    app.add_api_route("/orders", lambda: None, methods=["POST"])
    for number in range(18):
        app.add_api_route(f"/r{number}/{{x}}", lambda x: x)
    telemetry.instrument(app)
    return app


async def request(app: FastAPI) -> None:
    """Send one request, in a task of its own as a server does."""
    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "root_path": ""}
    scope |= {"path": "/orders", "raw_path": b"/orders", "query_string": b"", "headers": list(HEADERS), "state": {}}
    scope |= {"server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 5555), "asgi": {"version": "3.0"}}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(_: Any) -> None:
        pass

    await app(scope, receive, send)


class Costs:
    """What requests of one variant took, round by round, in microseconds."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.middle: list[float] = []
        self.highest: list[float] = []

    async def measure(self, call: Callable[[], Awaitable[None]], *, keep: bool) -> None:
        """Send the requests of a round, one after the other."""
        took = []
        begun = time.process_time()
        for _ in range(REQUESTS):
            asked = time.perf_counter_ns()
            await asyncio.ensure_future(call())
            took.append(time.perf_counter_ns() - asked)
        used = (time.process_time() - begun) / REQUESTS * 1e6
        if keep:
            took.sort()
            self.cpu.append(used)
            self.middle.append(took[len(took) // 2] / 1000)
            self.highest.append(took[len(took) * 9 // 10] / 1000)

    def row(self, name: str) -> str:
        """Return them as a row of a table."""
        least, middle = min(self.cpu), statistics.median(self.cpu)
        p50, p90 = min(self.middle), min(self.highest)
        return f"| {name} | {least:.1f} | {middle:.1f} | {p50:.1f} | {p90:.1f} |"


async def main() -> None:
    """Measure and print a table."""
    gc.set_threshold(50_000, 20, 100)  # as the service has it
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    apps = {name: build(environ) for name, environ in VARIANTS.items()}
    measured = {name: Costs() for name in apps}
    for number in range(ROUNDS + 1):
        for name, app in apps.items():
            # The first round builds the layers.
            await measured[name].measure(lambda app=app: request(app), keep=number > 0)  # type: ignore[misc]
    print("| us a request | CPU, least | CPU, median | p50, least | p90, least |\n|---|---|---|---|---|")  # noqa: T201 - a program
    for name, costs in measured.items():
        print(costs.row(name))  # noqa: T201 - a program


if __name__ == "__main__":
    uvloop.run(main())
