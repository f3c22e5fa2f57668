"""The application of `tests.telemetry.peers`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.routing import APIRoute
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Host, Mount, Route
from starlette.staticfiles import StaticFiles

from telemetry import Telemetry

TASK_SECONDS = 0.3
PART_SECONDS = 0.1
Notes = dict[str, Any]


class SoldError(Exception):
    """An exception that the application has a handler for."""


class ScopedRoute(APIRoute):
    """A route that needs a key which the server has put into the scope."""

    def get_route_handler(self) -> Any:
        """Wrap the handler."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            assert request.scope["http_version"]
            response: Response = await handler(request)
            return response

        return handle


def span_id() -> int:
    """Return the id of the current span."""
    return trace.get_current_span().get_span_context().span_id


async def yes(_: Request) -> Response:
    """Answer."""
    return PlainTextResponse("yes")


def plain(telemetry: Telemetry, notes: Notes) -> APIRouter:
    """Return routes that answer at once."""
    router = APIRouter()
    router.add_api_route("/items/{item}", lambda item: item)
    router.add_api_route("/numbers/{number}", numbered)
    router.add_api_route("/paths/{path:path}", lambda path: path)
    router.add_api_route("/status", lambda: PlainTextResponse("gone", HTTPStatus.GONE))
    router.add_api_route("/unavailable", unavailable)
    router.add_api_route("/crash", crash)
    router.add_api_route("/sold", sold)
    router.add_api_route("/quiet/health", lambda: "ok")
    router.add_api_route("/context/sync", lambda: {"span": span_id()})

    @router.get("/context/async")
    async def current() -> dict[str, int]:
        return {"span": span_id()}

    def opened() -> Iterator[int]:
        yield span_id()
        notes["after yield"] = span_id()

    @router.get("/context/yield")
    async def yielded(span: Annotated[int, Depends(opened)]) -> dict[str, int]:
        return {"span": span}

    def failing() -> Iterator[None]:
        yield
        raise RuntimeError("on the way out")

    @router.get("/yield/fails")
    async def fails_on_exit(_: Annotated[None, Depends(failing)]) -> None:
        pass

    @router.get("/active")
    async def active() -> float:
        text = telemetry.exposition()[0].decode()
        lines = [line for line in text.splitlines() if line.startswith("http_server_active_requests{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    return router


def numbered(number: int) -> int:
    """Take a number and nothing else."""
    return number


def unavailable() -> None:
    """Refuse."""
    raise HTTPException(503)


def crash() -> None:
    """Fail."""
    raise RuntimeError("a bug")


def sold() -> None:
    """Raise what there is a handler for."""
    raise SoldError


def bodies(notes: Notes) -> APIRouter:
    """Return routes whose answers take their time, and what reads bodies."""
    router = APIRouter()

    async def parts(*, dies: bool = False) -> AsyncIterator[bytes]:
        for number in range(3):
            await asyncio.sleep(PART_SECONDS)
            if dies and number == 1:
                raise RuntimeError("midway")
            yield b"x" * 600

    router.add_api_route("/stream", lambda: StreamingResponse(parts()))
    router.add_api_route("/dies", lambda: StreamingResponse(parts(dies=True)))

    @router.get("/events")
    async def events() -> StreamingResponse:
        async def ticks() -> AsyncIterator[str]:
            for number in range(3):
                yield f"data: {number}\n\n"

        return StreamingResponse(ticks(), media_type="text/event-stream")

    async def task() -> None:
        notes["task began in"] = span_id()
        await asyncio.sleep(TASK_SECONDS)

    @router.get("/background")
    async def background(tasks: BackgroundTasks) -> None:
        notes["background"] = span_id()
        tasks.add_task(task)

    @router.post("/upload")
    async def upload(request: Request) -> int:
        return len(await request.body())

    return router


def mounts(app: FastAPI, directory: Path) -> None:
    """Add applications, files and hosts."""
    v1, deeper, scoped = APIRouter(prefix="/v1"), APIRouter(prefix="/deeper"), APIRouter(route_class=ScopedRoute)
    deeper.add_api_route("/{thing}", lambda thing: thing)
    v1.add_api_route("/{thing}", lambda thing: thing)
    v1.include_router(deeper)
    with_mount = APIRouter()
    with_mount.mount("/m", Starlette(routes=[Route("/widget", yes)]))
    scoped.add_api_route("/scoped", lambda: "ok")
    app.include_router(v1)
    app.include_router(scoped)
    app.include_router(with_mount, prefix="/v2")
    one, two, three = FastAPI(), FastAPI(), FastAPI()
    three.add_api_route("/cats/{cat}", lambda cat: cat)
    two.mount("/three", three)
    one.mount("/two", two)

    @one.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    app.mount("/one", one)
    app.mount("/tenants/{tenant}", Starlette(routes=[Route("/parts/{part}", yes)]))
    bare = APIRouter()
    bare.add_api_route("/inside/{thing}", lambda thing: thing)
    app.mount("/router", bare)
    app.mount("/files", StaticFiles(directory=directory))
    app.router.routes.append(Host("other.example", app=Starlette(routes=[Route("/by-host/{thing}", yes)])))
    app.mount("/slash", Starlette(routes=[Mount("/", Starlette(routes=[Route("/leaf", yes)]))]))


async def tell_sold(_: Request, __: Exception) -> Response:
    """Answer for `SoldError`."""
    return JSONResponse({"span": span_id()}, 409)


async def gate(request: Request, go_on: Any) -> Response:
    """Fail, or rewrite the path, before the router is asked."""
    if "x-broken" in request.headers:
        raise RuntimeError("a bug in a middleware")
    if request.scope["path"] == "/old-name":
        request.scope["path"] = "/items/7"
    response: Response = await go_on(request)
    return response


def build(telemetry: Telemetry, notes: Notes, directory: Path) -> FastAPI:
    """Build it, and install the telemetry as a host does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"shelf": "full"}

    app = FastAPI(lifespan=lifespan)
    app.include_router(plain(telemetry, notes))
    app.include_router(bodies(notes))

    @app.get("/state")
    async def state(request: Request) -> str:
        shelf: str = request.state.shelf
        return shelf

    @app.websocket("/live/{room}")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        for _ in range(20):
            await socket.send_text("tick")
        await socket.close()

    mounts(app, directory)
    app.add_exception_handler(SoldError, tell_sold)
    app.add_middleware(BaseHTTPMiddleware, dispatch=gate)
    app.add_middleware(GZipMiddleware)
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "other.example"])
    telemetry.install(app)
    return app
