"""WebSocket clients of `/monitoring`: a proper one, one by hand, and some so cheap that a test may have hundreds."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator
from websockets.asyncio.client import ClientConnection, connect

from service.monitoring.messages import schema
from tests.support.shop import Shop

TIMEOUT_SECONDS = 30
HANDSHAKE = (
    b"GET /monitoring HTTP/1.1\r\nHost: watchers\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, CLOSE, PING = 1, 8, 9
PONG = 0x8A


def watch(shop: Shop, **options: Any) -> connect:
    """Open a WebSocket; for `async with`."""
    return connect(f"{shop.url.replace('http', 'ws', 1)}/monitoring", **options)


async def read(client: ClientConnection) -> dict[str, Any]:
    """Return the next message, having checked that it is as documented."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        text = await client.recv()
    assert isinstance(text, str)
    message: dict[str, Any] = json.loads(text)
    Draft202012Validator(schema()).validate(message)
    return message


@asynccontextmanager
async def upgrade(shop: Shop, *headers: str) -> AsyncIterator[int]:
    """Ask for a WebSocket by hand and yield the status of the answer; whatever comes later is left unread."""
    host, _, port = shop.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        lines = ["GET /monitoring HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade", *headers]
        lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13", "", ""]
        writer.write("\r\n".join(lines).encode())
        yield int((await reader.readline()).split()[1])
    finally:
        writer.close()


class Watching:
    """One client that reads: what it was sent, when, and with which code it was closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.frames = 0
        self.newest: dict[str, Any] = {}
        self.gaps: list[float] = []
        self.close_code: int | None = None
        self.reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str) -> "Watching":
        """Shake hands."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(HANDSHAKE)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
        except BaseException:
            writer.close()
            raise
        return cls(reader, writer)

    @classmethod
    async def resumed(cls, client: socket.socket) -> "Watching":
        """Begin to read what a socket of `open_deaf` has left unread."""
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
        reader, writer = await asyncio.open_connection(sock=client)
        await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        last: float | None = None
        try:
            while True:
                opcode, payload = await self._frame()
                if opcode == PING:  # a client masks what it sends; the mask may be zero
                    self._writer.write(bytes([PONG, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
                elif opcode == CLOSE:
                    self.close_code = int.from_bytes(payload[:2])
                elif opcode == TEXT:
                    now = loop.time()
                    if last is not None:
                        self.gaps.append(now - last)
                    last = now
                    self.frames += 1
                    self.newest = json.loads(payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writer.close()

    async def _frame(self) -> tuple[int, bytes]:
        first, length = await self._reader.readexactly(2)
        if length >= 126:
            length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8))
        return first & 0x0F, await self._reader.readexactly(length)

    async def close(self) -> None:
        """Hang up."""
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)
        self._writer.close()  # one that was cancelled before it began has not
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)


async def open_deaf(url: str) -> socket.socket:
    """Shake hands and never read again, with as small a buffer as the kernel allows."""
    parts = urlsplit(url)
    client = socket.socket()
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (parts.hostname, parts.port))
        await loop.sock_sendall(client, HANDSHAKE)
        assert (await loop.sock_recv(client, 16)).startswith(b"HTTP/1.1 101")
    except BaseException:
        client.close()
        raise
    return client
