"""A real uvicorn over a loopback socket, in the event loop of the test; and clients of what serves on loopback."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn

from tests.support.counts import PLACED, count, sold
from tests.support.waiting import wait_until

TRUST_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The `verify` of clients that speak no TLS: to read the certificates of the system takes each of them 25 ms of CPU."""


PATIENCE_SECONDS = 15.0
"""How long a client waits for an answer: httpx's 5 s pass on a busy machine."""


def http_get(url: str, **options: Any) -> httpx.Response:
    """Ask once, on a connection of its own; `options` are those of `httpx.get`."""
    with http_session() as client:
        return client.get(url, **options)


def http_session(url: str = "", **options: Any) -> httpx.Client:
    """Return a client of what serves at a URL, for tests without an event loop; its orders are counted."""
    shared = {"timeout": PATIENCE_SECONDS, "verify": TRUST_NOBODY}
    hooks = {"request": [_count_sent], "response": [_count_answered]}
    return httpx.Client(base_url=url, **{**shared, "event_hooks": hooks, **options})


def http_client(url: str = "", **options: Any) -> httpx.AsyncClient:
    """Return a client of what serves at a URL; its orders are counted."""

    async def sent(request: httpx.Request) -> None:
        _count_sent(request)

    async def answered(response: httpx.Response) -> None:
        if _is_order(response.request):
            await response.aread()
            _count_answered(response)

    hooks = {"request": [sent], "response": [answered]}
    shared = {"timeout": PATIENCE_SECONDS, "verify": TRUST_NOBODY, "event_hooks": hooks}
    return httpx.AsyncClient(base_url=url, **{**shared, **options})


def _is_order(request: httpx.Request) -> bool:
    return request.method == "POST" and request.url.path == "/orders"


def _count_sent(request: httpx.Request) -> None:
    if _is_order(request):
        count("sent")
        count("unsure")  # until it is answered


def _count_answered(response: httpx.Response) -> None:
    if not _is_order(response.request):
        return
    response.read()
    accepted = response.status_code == httpx.codes.ACCEPTED
    if accepted:
        PLACED.add(response.json()["order_id"])
    if b'"store_unavailable"' not in response.content:  # else it may have been placed
        count("unsure", -1)
    sold(int(accepted))


@asynccontextmanager
async def serve(app: Any, **config: Any) -> AsyncIterator[str]:
    """Serve an ASGI application, lifespan included; yields its base URL. `config` goes to uvicorn."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    options: dict[str, Any] = {"lifespan": "on", "log_level": "warning", "timeout_graceful_shutdown": 5}
    server = uvicorn.Server(uvicorn.Config(app, **{**options, **config}))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await wait_until(lambda: server.started or serving.done(), 10, "uvicorn has started")
        if serving.done():
            serving.result()
            raise AssertionError("uvicorn ended before it served: the lifespan failed, see the log")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()
