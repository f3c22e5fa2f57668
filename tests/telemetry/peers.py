"""One application with all that the tests of other libraries ask about, served for real, and its telemetry."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.sdk.trace import ReadableSpan

from telemetry import TelemetrySettings
from telemetry.settings import INTERCEPTORS, Interceptor
from telemetry.testing import Capture, capture
from tests.support import eventually, serve
from tests.telemetry.peers_app import build

COUNT = "http_server_request_duration_seconds_count"
SUM = "http_server_request_duration_seconds_sum"
ACTIVE = "http_server_active_requests"
MODES = [(interceptor, recorded) for interceptor in INTERCEPTORS for recorded in (True, False)]
MODE_NAMES = [f"{interceptor}-{'recorded' if recorded else 'unrecorded'}" for interceptor, recorded in MODES]


class World:
    """The application behind a socket.

    Attributes:
        client: asks it; no redirect is followed.
        recorded: whether its requests leave spans.
        interceptor: which one it has.
        notes: what the application noted of its own requests, by name.
    """

    def __init__(self, client: httpx.Client, seen: Capture, notes: dict[str, Any], interceptor: Interceptor) -> None:
        self.client, self.seen, self.notes, self.interceptor = client, seen, notes, interceptor
        self.recorded = seen.telemetry.settings.sampler == "parentbased_always_on"

    def counted(self, name: str = COUNT) -> dict[tuple[str, str, str], float]:
        """Return a metric of requests by method, route (empty for none) and status."""
        found = {}
        for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", self.text(), re.MULTILINE):
            known = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            key = (known["http_request_method"], known.get("http_route", ""), known["http_response_status_code"])
            found[key] = float(value)
        return found

    def text(self) -> str:
        """Scrape."""
        return self.seen.telemetry.exposition()[0].decode()

    def counts(self, act: Callable[[], Any], requests: int = 1) -> dict[tuple[str, str, str], float]:
        """Return what something adds to the counts, once as many requests were measured."""
        before = self.counted()

        def added() -> dict[tuple[str, str, str], float]:
            now = self.counted()
            return {key: value - before.get(key, 0) for key, value in now.items() if value != before.get(key, 0)}

        act()
        eventually(lambda: sum(added().values()) >= requests, 5, f"{requests} were measured")
        return added()

    def get(self, path: str, **options: Any) -> dict[tuple[str, str, str], float]:
        """Return what one request adds."""
        return self.counts(lambda: self.client.get(path, **options))

    def spans(self, act: Callable[[], Any], number: int = 1) -> list[ReadableSpan]:
        """Return the spans that something leaves."""
        before = len(self.seen.spans())
        act()
        eventually(lambda: len(self.seen.spans()) >= before + number, 5, f"{number} spans ended")
        return self.seen.spans()[before:]


@contextmanager
def world(interceptor: Interceptor, *, recorded: bool, directory: Path) -> Iterator[World]:
    """Serve the application in a thread of its own."""
    sampler = "parentbased_always_on" if recorded else "always_off"
    settings = TelemetrySettings(
        service_name="peers",
        worker="w",
        sampler=sampler,
        interceptor=interceptor,
        excluded_urls=("/quiet/",),
        afterwards_per_second=0,
    )
    notes: dict[str, Any] = {}
    ready, end = threading.Event(), threading.Event()
    urls: list[str] = []
    with capture(settings) as seen:
        app = build(seen.telemetry, notes, directory)

        async def run() -> None:
            async with serve(app, log_level="critical", reset_contextvars=True) as url:
                urls.append(url)
                ready.set()
                await asyncio.to_thread(end.wait)

        thread = threading.Thread(target=asyncio.run, args=(run(),))
        thread.start()
        try:
            assert ready.wait(10)
            # uvicorn closes a connection after an exception, and a client that keeps it may be about to use it.
            limits = httpx.Limits(max_keepalive_connections=0)
            with httpx.Client(base_url=urls[0], timeout=10, limits=limits) as client:
                yield World(client, seen, notes, interceptor)
        finally:
            end.set()
            thread.join(10)
