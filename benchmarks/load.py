"""The load: keep-alive connections that send prepared POST requests and count what comes back, exactly.

It runs in this process on uvloop, on another core than the server; the results tell what it cost there. Closed loop:
each connection sends its next request when its answer came. Open loop (`rate`): requests are due at fixed times, and a
latency counts from when the request was due.
"""

import asyncio
import gc
import itertools
import math
import re
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop

DRAIN_SECONDS = 30.0
TICK_SECONDS = 0.001
WARM_ROUNDS = 5
"""A closed loop is warm when each connection had so many answers: a server may open connections of its own first."""
MAX_WARM_SECONDS = 10.0
MAX_LONGER_SECONDS = 30.0
"""A closed loop is measured for longer than it was asked for while nothing was answered: no answer is no figure."""
_REFUSED = 400
_CODE = re.compile(rb'"code": ?"(\w+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How to load a server: connections, seconds to warm up and to measure, requests per second (None: closed loop)."""

    connections: int = 64
    warm: float = 0.5
    seconds: float = 2.0
    rate: float | None = None


@dataclass(slots=True)
class Load:
    """What came back: `statuses` and `latencies` in the measured time, `every` from the first request to the last.

    `codes` has why orders were refused or failed, as the answers' `code` says it.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    every: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    lost: int = 0

    @property
    def answers(self) -> int:
        """Answers in the measured time."""
        return self.statuses.total()

    def per_second(self, *statuses: int) -> float:
        """Return the answers per second; of these statuses, if some are given."""
        return (sum(self.statuses[s] for s in statuses) if statuses else self.answers) / self.seconds

    def latency_ms(self, share: float) -> float:
        """Return a quantile of the latency, such as 0.99, in milliseconds."""
        return quantile(self.latencies, share) * 1000


def quantile(found: Iterable[float], share: float) -> float:
    """Return a quantile by nearest rank, or NaN of no values."""
    ordered = sorted(found)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan


def post(path: str, body: str, headers: str = "") -> bytes:
    """Return a whole request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def orders(products: int = 1, first_user: int = 0) -> Iterator[bytes]:
    """Yield orders for one unit each, every one by a user who has not ordered yet; the products take turns."""
    bodies = (f'{{"product_id":"p{n}","user_id":"user-%010d","quantity":1}}' for n in range(products))
    sample = f"{0:010d}"
    texts = [post("/orders", body.replace("%010d", sample)).replace(sample.encode(), b"%010d") for body in bodies]
    for user, text in zip(itertools.count(first_user), itertools.cycle(texts), strict=False):
        yield text % user


class _Connection(asyncio.Protocol):
    """One connection: a request, its whole answer, the next request."""

    def __init__(self, driver: "_Driver") -> None:
        self._driver = driver
        self._got = b""
        self._begun = 0.0
        self.away = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def send(self, request: bytes, begun: float) -> None:
        self.away = True
        self._begun = begun
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._got:
            data = self._got + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + _content_length(data, end):
            self._got = data
            return
        self._got = b""
        self.away = False
        status = int(data[9:12])
        if status >= _REFUSED:
            self._driver.refused(data)
        self._driver.answered(self, status, self._begun)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.away or not self._driver.ending:
            self._driver.load.lost += 1
            self._driver.live.discard(self)

    def close(self) -> None:
        self._transport.close()


def _content_length(data: bytes, end: int) -> int:
    at = data.find(b"ontent-length:", 0, end)
    at = at if at >= 0 else data.find(b"ontent-Length:", 0, end)
    return int(data[at + 14 : data.find(b"\r", at)])


class _Driver:
    def __init__(self, requests: Iterator[bytes], shape: Shape) -> None:
        self.load = Load()
        self.live: set[_Connection] = set()
        self.ending = False
        self._requests = requests
        self._shape = shape
        self._measuring = False
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()

    async def run(self, port: int, edge: Callable[[], None]) -> Load:
        loop = asyncio.get_running_loop()
        for _ in range(self._shape.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", port)
            self.live.add(connection)
            self._idle.append(connection)
        pacer = asyncio.create_task(self._pace()) if self._shape.rate else None
        if pacer is None:
            while self._idle:
                self._idle.popleft().send(next(self._requests), time.perf_counter())
        await self._phases(edge)
        if pacer is not None:
            pacer.cancel()
            self._due.clear()
        end = time.monotonic() + DRAIN_SECONDS
        while any(connection.away for connection in self.live) and time.monotonic() < end:  # noqa: ASYNC110 - rare
            await asyncio.sleep(0.005)
        for connection in self.live:
            connection.close()
        return self.load

    async def _phases(self, edge: Callable[[], None]) -> None:
        await asyncio.sleep(self._shape.warm)
        end = time.monotonic() + MAX_WARM_SECONDS
        while self._shape.rate is None and self.load.every.total() < WARM_ROUNDS * len(self.live):
            if time.monotonic() > end:
                break
            await asyncio.sleep(0.005)
        edge()
        begun = time.perf_counter()
        self._measuring = True
        await asyncio.sleep(self._shape.seconds)
        end = time.monotonic() + MAX_LONGER_SECONDS
        while not self.load.latencies and time.monotonic() < end:  # noqa: ASYNC110 - rare
            await asyncio.sleep(TICK_SECONDS)
        self._measuring = False
        self.load.seconds = time.perf_counter() - begun
        edge()
        self.ending = True

    async def _pace(self) -> None:
        rate = self._shape.rate or 1.0
        begun = time.perf_counter()
        made = 0
        while True:
            due = int((time.perf_counter() - begun) * rate)
            self._due.extend(begun + number / rate for number in range(made, due))
            made = due
            while self._due and self._idle:
                self._idle.popleft().send(next(self._requests), self._due.popleft())
            await asyncio.sleep(TICK_SECONDS)

    def refused(self, answer: bytes) -> None:
        code = _CODE.search(answer)
        self.load.codes[code[1].decode() if code else "no code"] += 1

    def answered(self, connection: _Connection, status: int, begun: float) -> None:
        now = time.perf_counter()
        load = self.load
        load.every[status] += 1
        if self._measuring:
            load.statuses[status] += 1
            load.latencies.append(now - begun)
        if self.ending:
            return
        if self._shape.rate is None:
            connection.send(next(self._requests), now)
        elif self._due:
            connection.send(next(self._requests), self._due.popleft())
        else:
            self._idle.append(connection)


def drive(port: int, requests: Iterator[bytes], shape: Shape, edge: Callable[[], None] = lambda: None) -> Load:
    """Load the server at a port of loopback; call `edge` where the measured time begins and where it ends."""
    gc.collect()
    gc.disable()  # a pause of the load would be a latency of the server
    try:
        return uvloop.run(_Driver(requests, shape).run(port, edge))
    finally:
        gc.enable()
