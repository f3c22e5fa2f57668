"""A service in a rush, and the crowd that rushes it.

`python -m tests.telemetry.rush PORT` serves it: each request makes one call to the store, and an item called `broken-…`
is a defect.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from telemetry import Telemetry, TelemetrySettings, current_traceparent, store_span

CONNECTIONS = 32


def build(telemetry: Telemetry) -> FastAPI:
    """Build the application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        telemetry.start()
        yield
        await asyncio.to_thread(telemetry.shutdown)

    app = FastAPI(lifespan=lifespan, telemetry=telemetry.fastapi_config())
    tracer = telemetry.tracer("rush.store")

    @app.get("/items/{item}")
    async def item(item: str) -> dict[str, str]:
        with store_span(tracer, "EVALSHA", "place"):
            await asyncio.sleep(0)
        if item.startswith("broken"):
            raise RuntimeError("a bug")
        return {"traceparent": current_traceparent()}

    @app.exception_handler(Exception)
    async def crash(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({"traceparent": current_traceparent()}, 500)

    telemetry.instrument(app)
    return app


@dataclass
class Crowd:
    """What a crowd got: the trace id of each path that it asked for, and how long it took."""

    traces: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.traces) / self.seconds


async def rush(port: int, paths: Sequence[str], per_second: float) -> Crowd:
    """Ask for each path once, `per_second` of them each second or as fast as the service can."""
    loop = asyncio.get_running_loop()
    crowd = Crowd()
    begun = loop.time()

    async def client(mine: Sequence[tuple[int, str]]) -> None:
        head = b""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, path in mine:
            if reader.at_eof() or b" 500 " in head:  # uvicorn closes the connection of a request that crashed
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(max(0.0, begun + number / per_second - loop.time()))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: rush\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            crowd.traces[path] = body.decode().split("-")[1]
        writer.close()
        await writer.wait_closed()

    numbered = list(enumerate(paths))
    await asyncio.gather(*(client(numbered[lane::CONNECTIONS]) for lane in range(CONNECTIONS)))
    crowd.seconds = loop.time() - begun
    return crowd


def main() -> None:
    """Serve on the port given."""
    settings = TelemetrySettings.from_env(os.environ, service_name="rush", service_version="1.0", worker="api-0")
    uvicorn.run(build(Telemetry(settings)), host="127.0.0.1", port=int(sys.argv[1]), access_log=False)


if __name__ == "__main__":
    main()
