"""A body is bounded by what arrives, not by what a client says of it."""

import asyncio

import pytest
from fastapi import FastAPI, Request

from service.api.errors import ErrorHandlers
from service.api.middleware.body_limit import BodyLimitMiddleware
from tests.support import serve

MOST = 100
REFUSED = (b"HTTP/1.1 400", b"HTTP/1.1 413")


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize(
    ("headers", "size", "begins"),
    [
        (b"Content-Length: %d", MOST, (b"HTTP/1.1 200",)),
        (b"Content-Length: %d", MOST + 1, (b"HTTP/1.1 413",)),
        (b"Transfer-Encoding: chunked", MOST, (b"HTTP/1.1 200",)),
        (b"Transfer-Encoding: chunked", MOST + 1, (b"HTTP/1.1 413",)),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", MOST + 1, REFUSED),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5", MOST + 1, REFUSED),
    ],
)
async def test_a_body_is_bounded(http: str, headers: bytes, size: int, begins: tuple[bytes, ...]) -> None:
    """h11 lets chunks beat a declared length; llhttp refuses both together."""
    app = FastAPI(exception_handlers=ErrorHandlers(lambda *_: None).by_type())

    @app.post("/")
    async def length(request: Request) -> int:
        return len(await request.body())

    app.add_middleware(BodyLimitMiddleware, max_bytes=MOST, on_problem=lambda *_: None)
    chunked = b"chunked" in headers
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size) if chunked else b"x" * size
    head = headers if chunked else headers % size
    async with serve(app, http=http, log_level="critical") as url:
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n" + body)
        assert (await reader.readline()).startswith(begins)
        writer.close()
        await writer.wait_closed()
