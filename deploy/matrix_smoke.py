"""Run in an environment of other versions by `python -m deploy.matrix`: whether `truemeter` works there.

It needs nothing but `truemeter`, uvicorn and the standard library; what is wrong ends it with an error.
"""

import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import uvicorn
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

truemeter: Any = import_module("truemeter")  # it is not installed where this is checked for types

COUNT = "http_server_request_duration_seconds_count"
REFUNDS = truemeter.CounterSpec(name="shop.refunds", unit="{payment}", description="Payments given back.")
DEADLINE_SECONDS = 20


def application(kind: str) -> Any:  # noqa: ANN401 - an application of either library, of which one may not be there
    """Return an application with a route, and one below a mount or a prefix."""
    if kind == "starlette":
        from starlette.applications import Starlette  # noqa: PLC0415 - in such an environment
        from starlette.requests import Request  # noqa: PLC0415
        from starlette.responses import PlainTextResponse  # noqa: PLC0415
        from starlette.routing import Mount, Route  # noqa: PLC0415

        async def hello(_: Request) -> PlainTextResponse:
            return PlainTextResponse("hello")

        return Starlette(routes=[Route("/items/{item}", hello), Mount("/v1", routes=[Route("/things/{thing}", hello)])])
    from fastapi import APIRouter, FastAPI  # noqa: PLC0415

    router = APIRouter(prefix="/v1")
    router.add_api_route("/things/{thing}", lambda thing: thing)
    app = FastAPI()
    app.add_api_route("/items/{item}", lambda item: item)
    app.include_router(router)
    return app


@contextmanager
def served(app: Any) -> Iterator[str]:  # noqa: ANN401 - as above
    """Serve an application by uvicorn; yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="on", log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    end = time.monotonic() + DEADLINE_SECONDS
    while not server.started:
        if time.monotonic() > end or not thread.is_alive():
            raise SystemExit("uvicorn does not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(DEADLINE_SECONDS)


def get(url: str) -> str:
    """Return the body of an answer; only of addresses that `served` gave."""
    with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as answer:  # noqa: S310 - as above
        text: bytes = answer.read()
        return text.decode()


def check(kind: str, interceptor: Any, sampler: str) -> None:  # noqa: ANN401 - one of the three
    """Ask an application, and look at its series and spans."""
    spans = InMemorySpanExporter()
    settings = truemeter.TelemetrySettings(service_name="shop", interceptor=interceptor, sampler=sampler)
    telemetry = truemeter.Telemetry(
        settings, set_global=False, strict=True, span_processors=[SimpleSpanProcessor(spans)]
    )
    app = application(kind)
    telemetry.install(app)
    telemetry.counter(REFUNDS).add(3)
    with served(app) as base:
        for path in ("/items/1", "/items/2", "/v1/things/3"):
            get(base + path)
        lines = get(f"{base}/metrics").splitlines()
    counted = {
        line.partition('http_route="')[2].partition('"')[0]: float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(COUNT)
    }
    require(counted, {"/items/{item}": 2.0, "/v1/things/{thing}": 1.0})
    require([line.rpartition(" ")[2] for line in lines if line.startswith("shop_refunds_total")], ["3.0"])
    names = ["GET /items/{item}", "GET /items/{item}", "GET /v1/things/{thing}"] if sampler == "always_on" else []
    require(sorted(span.name for span in spans.get_finished_spans()), names)


def require(found: object, wanted: object) -> None:
    """End with what was found, if it is not what is wanted."""
    if found != wanted:
        raise SystemExit(f"found {found}, not {wanted}")


def main() -> None:
    """Check each interceptor, recorded and not; the argument says of whose application."""
    kind = sys.argv[1]
    for interceptor in ("contrib", "lean") if kind == "starlette" else ("contrib", "native", "lean"):
        for sampler in ("always_on", "always_off"):
            try:
                check(kind, interceptor, sampler)
            except BaseException as error:
                raise SystemExit(f"{interceptor}, {sampler}: {error or type(error).__name__}") from error


if __name__ == "__main__":
    main()
