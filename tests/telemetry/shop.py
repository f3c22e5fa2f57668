"""A tiny service with telemetry; `python -m tests.telemetry.shop PORT` serves it as a program."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response, WebSocket

from telemetry import Telemetry, TelemetrySettings, current_traceparent


def build(telemetry: Telemetry) -> FastAPI:
    """Build the application; its lifespan owns the telemetry."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        telemetry.start()
        yield
        await asyncio.to_thread(telemetry.shutdown)

    app = FastAPI(lifespan=lifespan, telemetry=telemetry.fastapi_config())

    @app.get("/items/{item}")
    async def item(item: str) -> dict[str, str]:
        if item == "gone":
            raise HTTPException(409, "sold out")
        if item == "crash":
            raise RuntimeError("a bug")
        return {"traceparent": current_traceparent()}

    @app.get("/inventory/metrics")
    async def inventory() -> None:
        pass

    @app.get("/healthz")
    async def healthz() -> None:
        pass

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        body, content_type = telemetry.exposition(request.headers.get("accept"))
        return Response(body, headers={"content-type": content_type})

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        for _ in range(20):
            await socket.send_text("tick")
        await socket.close()

    telemetry.instrument(app)
    return app


def main() -> None:
    """Serve on the port given."""
    settings = TelemetrySettings.from_env(os.environ, service_name="shop", service_version="1.0", worker="api-0")
    app = build(Telemetry(settings))
    # Else a pipelined request starts inside the span of the one before, and contrib records it as that one was.
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="info", reset_contextvars=True)


if __name__ == "__main__":
    main()
