"""What the telemetry adds to one request, in process: `python -m tests.telemetry.request_cost`.

No server and no handler to speak of, so nearly all of it is the telemetry. CPU time of this process; the variants take
turns. `recorded` makes every span and exports none; the others record no trace, as most requests of a busy sale.
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


async def microseconds(call: Callable[[], Awaitable[None]]) -> float:
    """Return the CPU time of one call."""
    begun = time.process_time()
    for _ in range(REQUESTS):
        await asyncio.ensure_future(call())
    return (time.process_time() - begun) / REQUESTS * 1e6


async def main() -> None:
    """Measure and print."""
    gc.set_threshold(50_000, 20, 100)  # as the service has it
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    apps = {name: build(environ) for name, environ in VARIANTS.items()}
    measured: dict[str, list[float]] = {name: [] for name in apps}
    for number in range(ROUNDS + 1):
        for name, app in apps.items():
            cost = await microseconds(lambda app=app: request(app))  # type: ignore[misc]
            if number:  # the first round builds the layers
                measured[name].append(cost)
    for name, costs in measured.items():
        print(f"{name:18} least {min(costs):5.1f} us, median {statistics.median(costs):5.1f} us")  # noqa: T201 - a program


if __name__ == "__main__":
    uvloop.run(main())
