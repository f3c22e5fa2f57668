"""A proxy before a store: it loses replies, and leads new connections to another store, as a service's address does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.counts import injected

CHUNK = 65_536
NOTHING = (b"*-1\r\n", b"_\r\n", b"*0\r\n")


class Proxy:
    """Forwards everything, but for the replies that it is told to lose. A new connection is welcome at once.

    A reply is lost after its call has run: its caller finds the connection closed.

    Attributes:
        lost: How many replies it has lost.
        reads: How often workers asked for orders.
    """

    def __init__(self, host: str, port: int) -> None:
        self._store = host, port
        self._needle = b""
        self._instead = b""
        self._server: asyncio.Server
        self.lost = 0
        self.reads = 0

    def lead_to(self, url: str) -> None:
        """Lead new connections to the store at `url`; those that are open stay where they are."""
        self._store = _address(url)

    def lose(self, needle: bytes) -> None:
        """Lose the next reply that says something to a call with `needle` in it."""
        self._needle = needle

    def answer_steps(self, instead: bytes) -> None:
        """Answer every step of the ledger so, in place of the store, until told otherwise (`b""`)."""
        self._instead = instead
        injected(int(bool(instead)))

    @property
    def url(self) -> str:
        """The value of `REDIS_URL`."""
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncIterator["Proxy"]:
        """Serve a proxy before the store at `url`."""
        proxy = cls(*_address(url))
        proxy._server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        try:
            yield proxy
        finally:
            proxy._server.close()

    async def _serve(self, caller: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        replies, store = await asyncio.open_connection(*self._store)
        call = bytearray()

        async def forward() -> None:
            while data := await caller.read(CHUNK):
                call.extend(data)
                self.reads += b"XREADGROUP" in data
                store.write(data)

        async def bring_back() -> None:
            while data := await replies.read(CHUNK):
                if self._needle and self._needle in call and data not in NOTHING:
                    self._needle = b""
                    self.lost += 1
                    injected()
                    return
                answers.write(self._instead if self._instead and b"EVAL" in call else data)
                call.clear()

        ways = [asyncio.create_task(forward()), asyncio.create_task(bring_back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            store.close()
            answers.close()


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("redis://").partition(":")
    return host, int(port)
