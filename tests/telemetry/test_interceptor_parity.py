"""The interceptors held side by side: the same requests leave the same series and the same spans."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from opentelemetry import baggage
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from telemetry import TelemetrySettings
from telemetry.settings import INTERCEPTORS, Interceptor
from telemetry.testing import Capture, capture
from tests.support import serve, wait_until
from tests.support.http import http_client

DURATION = "http_server_request_duration_seconds"
Seen = dict[str, Any]

REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "/orders/1", {}),
    ("GET", "/orders/queue", {}),
    ("GET", "/orders/409", {}),
    ("GET", "/orders/not-a-number", {}),
    ("GET", "/orders/500", {}),
    ("GET", "/orders/503", {}),
    ("PUT", "/orders/1", {}),
    ("PUT", "/orders/queue", {}),  # two routes know this path
    ("HEAD", "/orders/1", {}),
    ("OPTIONS", "/orders/1", {}),
    ("PROPFIND", "/orders/1", {}),
    ("GET", "/orders/1/", {}),  # redirected to the path without the slash
    ("GET", "/nowhere", {}),
    ("GET", "/orders/1", {"x-refused": "early"}),  # a middleware answers before the router is asked
    ("GET", "/nowhere", {"x-refused": "early"}),
    ("GET", "/orders/1", {"x-refused": "by a defect"}),
    ("GET", "/admin/users", {}),
    ("GET", "/admin/nowhere", {}),
    ("GET", "/plain/parts/1", {}),  # a mounted application that is Starlette's
    ("GET", "/plain/nowhere", {}),
    ("GET", "/stream", {}),
    ("GET", "/baggage", {"baggage": "user=ada"}),
    ("GET", "//orders", {}),
    ("GET", "/ORDERS/queue", {}),
    ("GET", "/orders%2Fqueue", {}),
    ("GET", "/plain/{path}", {}),
    ("GET", f"/static/{Path(__file__).name}", {}),
    ("GET", "/metrics", {}),
    ("GET", "/healthz", {}),
    ("GET", "/orders/1", {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}),
    ("GET", "/orders/1", {"baggage": "user=" + "x" * 7000}),
    ("GET", "/orders/1?next=%2Fa&b=c", {"host": "evil.example:99999"}),
]
ODD_BYTES = [
    b"GET /orders/1 HTTP/1.1\r\nHost: \xff\\x\r\n\r\n",
    b"GET /orders/1 HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\\x\r\n\r\n",
    b"GET /orders/1 HTTP/1.1\r\nHost: a\r\ntraceparent: \xff\\x\r\nbaggage: \xff\\x\r\n\r\n",
    b"GET /orders/1 HTTP/1.1\r\nHost: a:b:c[\r\n\r\n",
    b"GET /orders/1 HTTP/1.0\r\n\r\n",
]


def orders() -> APIRouter:
    """Return a router that is included."""
    router = APIRouter(prefix="/orders")

    @router.get("/queue")
    async def queue() -> None:
        pass

    @router.get("/{number}")
    async def order(number: int) -> None:
        if number == 500:
            raise RuntimeError("a bug")
        if number > 400:
            raise HTTPException(number)

    return router


def admin() -> FastAPI:
    """Return an application that is mounted."""
    app = FastAPI()

    @app.get("/users")
    async def users() -> None:
        pass

    return app


async def gate(request: Request, go_on: Any) -> Response:
    """Answer or fail before the router is asked."""
    if request.headers.get("x-refused") == "early":
        return PlainTextResponse("no", 413)
    if "x-refused" in request.headers:
        raise RuntimeError("a bug in a middleware")
    response: Response = await go_on(request)
    return response


def build(seen: Capture) -> FastAPI:
    """Build an application with every kind of route."""
    app = FastAPI(telemetry=seen.telemetry.fastapi_config())

    @app.get("/metrics")
    @app.get("/healthz")
    async def excluded() -> None:
        pass

    @app.websocket("/live/{room}")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    app.include_router(orders())

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"x"

        return StreamingResponse(parts())

    @app.get("/baggage")
    async def carried() -> dict[str, object]:
        return dict(baggage.get_all())

    app.mount("/admin", admin())
    app.mount("/plain", Starlette(routes=[Route("/parts/{number}", PlainTextResponse("yes"))]))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent))
    app.middleware("http")(gate)
    seen.telemetry.instrument(app)
    return app


async def raw(url: str, request: bytes) -> bytes:
    """Send bytes that no client library sends; return the status line."""
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    writer.write(request)
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


async def open_socket(app: FastAPI) -> None:
    """Open a WebSocket that the application closes."""
    incoming = iter([{"type": "websocket.connect"}])

    async def receive() -> dict[str, Any]:
        return next(incoming)

    async def send(_: Any) -> None:
        pass

    scope = {"type": "websocket", "path": "/live/7", "raw_path": b"", "query_string": b"", "headers": []}
    await app(scope, receive, send)


async def observe(interceptor: Interceptor, sampler: str = "parentbased_always_on") -> Seen:
    """Send every request, and return what telemetry says of it."""
    settings = TelemetrySettings(service_name="shop", worker="api-0", sampler=sampler, interceptor=interceptor)
    with capture(settings) as seen:
        app = build(seen)
        async with (
            serve(app, log_level="critical") as url,
            http_client(url, follow_redirects=False) as client,
        ):
            answers: list[Any] = []
            for method, path, headers in REQUESTS:
                answer = await client.request(method, f"{url}{path}", headers=headers)
                answers.append((answer.status_code, answer.text))
            answers += [await raw(url, request) for request in ODD_BYTES]
            measured = len(answers) - sum(path in ("/metrics", "/healthz") for _, path, _ in REQUESTS)
            await wait_until(lambda: seen.value(f"{DURATION}_count") == measured, what="every request was measured")
            if sampler == "parentbased_always_on":
                await wait_until(lambda: len(seen.spans()) >= measured, what="every request left its span")
        await open_socket(app)
        return {"answers": answers, **told(seen)}


def told(seen: Capture) -> Seen:
    """Return what the telemetry says, in a form that can be compared."""
    metrics = seen.metrics()
    counts = {key: value for key, value in metrics.items() if key[0].startswith("http_")}
    started = {labels: value for (name, labels), value in metrics.items() if name == "otel_sdk_span_started_total"}
    return {
        "started": {dict(labels)["otel_span_parent_origin"]: value for labels, value in started.items()},
        "series": {key for key in counts if not key[0].endswith("_created")},
        "counts": {key: value for key, value in counts.items() if "_sum" not in key[0] and "_bucket" not in key[0]},
        "spans": sorted(
            (
                (
                    span.name,
                    span.kind,
                    span.status.status_code,
                    (span.attributes or {}).get("http.route"),
                    (span.attributes or {}).get("http.request.method"),
                    (span.attributes or {}).get("http.response.status_code"),
                    [(event.name, (event.attributes or {}).get("exception.type")) for event in span.events],
                    f"{span.parent.trace_id:x}" if span.parent else None,
                )
                for span in seen.spans()
            ),
            key=str,
        ),
    }


@pytest.fixture(scope="module")
def seen() -> dict[Interceptor, Seen]:
    """Return what each interceptor saw."""
    return {interceptor: asyncio.run(observe(interceptor)) for interceptor in INTERCEPTORS}


@pytest.mark.parametrize("aspect", ["answers", "series", "counts", "started", "spans"])
@pytest.mark.parametrize("interceptor", INTERCEPTORS[1:])
def test_all_interceptors_say_the_same(seen: dict[Interceptor, Seen], interceptor: Interceptor, aspect: str) -> None:
    """Status codes, series with their labels, values, and spans with name, kind, status, route and events."""
    assert seen[interceptor][aspect] == seen["contrib"][aspect]


def test_what_they_say_is_right(seen: dict[Interceptor, Seen]) -> None:
    """Names are templates, whoever answers; the first route that knows a path counts."""
    names = {(span[0], span[5]) for span in seen["contrib"]["spans"]}
    assert names == {
        ("GET /orders/{number}", 200),
        ("GET /orders/queue", 200),
        ("GET /orders/{number}", 409),
        ("GET /orders/{number}", 422),
        ("GET /orders/{number}", 500),
        ("GET /orders/{number}", 503),
        ("PUT /orders/{number}", 405),
        ("PUT /orders/queue", 405),
        ("HEAD /orders/{number}", 405),
        ("OPTIONS /orders/{number}", 405),
        ("HTTP /orders/{number}", 405),
        ("GET /orders/{number}", 307),
        ("GET", 404),
        ("GET /orders/{number}", 413),
        ("GET", 413),
        ("GET /admin/users", 200),
        ("GET /admin/{path}", 404),
        ("GET /plain/parts/{number}", 200),
        ("GET /plain/{path}", 404),
        ("GET /stream", 200),
        ("GET /baggage", 200),
        ("GET /static/{path}", 200),
        ("WS /live/{room}", None),
    }


def test_odd_bytes_in_a_header_reach_the_application(seen: dict[Interceptor, Seen]) -> None:
    """Contrib alone would answer 500 to a `User-Agent` that it cannot decode."""
    for one in seen.values():
        assert one["answers"][-len(ODD_BYTES) :] == [b"HTTP/1.1 200 OK\r\n"] * len(ODD_BYTES)
