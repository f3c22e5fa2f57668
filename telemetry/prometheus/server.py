"""`/metrics` on a port of its own, so that what the public reaches has no such route.

Every worker process of a service is told the same port, and one of them gets it; it answers for all. When that one
ends, another takes its place within `RETRY_SECONDS`. A process for which the port does not answer says so: it may be
of another service, or of the same at another address. Requests are read with bounds of size, time and number, for a
port that somebody opened to a network may be asked by anybody.
"""

import errno
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

import anyio
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from .background import in_background

RETRY_SECONDS = 1.0
LOOKS = 3
"""How often the port must be found with somebody who is no sibling before that is told."""
TIMEOUT_SECONDS = 5.0
MAX_REQUEST_BYTES = 16_384
MAX_CONNECTIONS = 32
_TARGET = "target_info"
_GROUP = "x-metrics-group"
_BROKEN = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead)
_logger = logging.getLogger(__name__)

Answer = Callable[[Mapping[str, str], Sequence[str]], Awaitable[tuple[bytes, dict[str, str]]]]


class MetricsServer:
    """Answers ``GET /metrics`` on a port.

    Args:
        host: a name or an address.
        port: which one.
        service: the name of the service, for the log.
        group: gives what the processes that one answer is for have in common, and no other.
        answer: gives the body and headers of an answer to the headers of a request and the values of its ``name[]``.
    """

    def __init__(self, host: str, port: int, service: str, group: Callable[[], str], answer: Answer) -> None:
        self._host, self._port, self._service, self._group, self._answer = host, port, service, group, answer
        self._open = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve while the block lasts, from the moment at which the port is free.

        Raises:
            RuntimeError: the address cannot be had, now or later; one line that names the variable.
        """
        listener = await self._listen()
        async with in_background(partial(self._serve, listener)):
            yield

    async def _listen(self) -> Any:  # noqa: ANN401 - a listener of anyio's on one socket or several
        try:
            return await anyio.create_tcp_listener(local_host=self._host, local_port=self._port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                why = error.strerror or error
                address = f"{self._host}:{self._port}"
                raise RuntimeError(f"OTEL_EXPORTER_PROMETHEUS_PORT: cannot listen on {address}: {why}") from None
            return None

    async def _serve(self, listener: Any) -> None:  # noqa: ANN401 - as `_listen`
        by_others = 0
        while listener is None:
            # A sibling that begins or ends answers nobody for a moment.
            by_others = 0 if await self._is_held_by_a_sibling() else by_others + 1
            if by_others == LOOKS:
                _logger.warning(
                    "OTEL_EXPORTER_PROMETHEUS_PORT: %s:%s is taken by somebody else and does not show what this "
                    "process measures of %s; trying again",
                    *(self._host, self._port, self._service),
                )
            await anyio.sleep(RETRY_SECONDS)
            listener = await self._listen()
        _logger.info("/metrics is on %s:%s", self._host, self._port)
        async with listener:
            await listener.serve(self._handle)

    async def _is_held_by_a_sibling(self) -> bool:
        head = b""
        with suppress(*_BROKEN, anyio.DelimiterNotFound), anyio.move_on_after(TIMEOUT_SECONDS):
            async with await anyio.connect_tcp(self._host, self._port) as stream:
                await stream.send(f"HEAD /metrics?name[]={_TARGET} HTTP/1.0\r\n\r\n".encode())
                head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", MAX_REQUEST_BYTES)
        return f"{_GROUP}: {self._group()}".encode() in head.split(b"\r\n")

    async def _handle(self, stream: ByteStream) -> None:
        if self._open >= MAX_CONNECTIONS:
            await anyio.aclose_forcefully(stream)
            return
        self._open += 1
        try:
            with suppress(*_BROKEN), anyio.move_on_after(TIMEOUT_SECONDS):
                async with stream:
                    await stream.send(await self._response(stream))
        except Exception:  # it costs this answer, not those to come
            _logger.exception("a scrape was not answered")
        finally:
            self._open -= 1

    async def _response(self, stream: ByteStream) -> bytes:
        try:
            head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", MAX_REQUEST_BYTES)
            method, url, headers = _parse(head)
        except (ValueError, HTTPException, anyio.DelimiterNotFound):
            return _write(HTTPStatus.BAD_REQUEST, b"", {})
        if url.path != "/metrics":
            return _write(HTTPStatus.NOT_FOUND, b"", {})
        if method not in ("GET", "HEAD"):
            return _write(HTTPStatus.METHOD_NOT_ALLOWED, b"", {"allow": "GET, HEAD"})
        names = [value for name, value in parse_qsl(url.query) if name == "name[]"]
        body, said = await self._answer(headers, names)
        return _write(HTTPStatus.OK, body, {**said, _GROUP: self._group()}, head_only=method == "HEAD")


def _parse(head: bytes) -> tuple[str, SplitResult, dict[str, str]]:
    if len(head) > MAX_REQUEST_BYTES:
        raise ValueError("too long")
    line, _, rest = head.partition(b"\r\n")
    method, target, _ = line.decode("latin-1").split(" ")
    headers = parse_headers(io.BytesIO(rest + b"\r\n\r\n"))
    return method, urlsplit(target), {name.lower(): value for name, value in headers.items()}


def metrics_server(
    address: tuple[str, int] | None, service: str, group: Callable[[], str], answer: Answer
) -> AbstractAsyncContextManager[None]:
    """Return what serves the metrics on an address while a block lasts; nothing without one."""
    return _nothing() if address is None else MetricsServer(*address, service, group, answer).serving()


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


def _write(status: HTTPStatus, body: bytes, headers: Mapping[str, str], *, head_only: bool = False) -> bytes:
    said = {**headers, "content-length": str(len(body)), "connection": "close"}
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in said.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if head_only else body)
