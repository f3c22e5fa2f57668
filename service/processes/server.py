"""The HTTP server of a process: uvicorn, which leaves signals, logging and sockets to us."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import cast

import uvicorn
from fastapi import FastAPI

from service.api.websocket import MAX_MESSAGE_BYTES
from service.api.websocket_protocol import Connection
from service.cancellation import cancel_and_wait
from service.ending import Ending
from service.host_names import HostNames
from service.metrics import HTTP_REFUSED
from service.processes.connections import Connections, allow_connections
from service.processes.http_protocol import HttpProtocol
from service.processes.sockets import BACKLOG, is_loopback
from service.settings import Settings
from telemetry import Telemetry

READ_SECONDS = 0.02
"""What a turn or two of the event loop takes: what clients have sent is read before their connections are closed."""
DATE_SECONDS = 0.9
"""What is left of a second when uvicorn has slept."""
SECURITY_HEADERS = {
    "Content-Security-Policy": "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What the server says with every answer. A page adds a policy of its own: a browser obeys all that it is given."""


def http_server(
    app: FastAPI,
    settings: Settings,
    telemetry: Telemetry,
    listener: socket.socket,
    websocket_paths: frozenset[bytes] = frozenset(),
) -> "HttpServer":
    """Make a uvicorn server that leaves logging, sockets and the bounds on a client to us.

    Args:
        app: The application.
        settings: The service's settings.
        telemetry: Of this process.
        listener: Where it will serve; who listens on loopback alone knows its own names.
        websocket_paths: Where the application takes the handshake of a WebSocket.
    """
    host_names = HostNames(settings.allowed_hosts, loopback=is_loopback(listener))
    connections = Connections(allow_connections(settings.max_connections))
    telemetry.observe(HTTP_REFUSED, lambda: [(n, {"reason": reason}) for reason, n in connections.refused.items()])
    return HttpServer(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            workers=1,  # else uvicorn reads WEB_CONCURRENCY, and fails where that is no number
            proxy_headers=False,  # X-Forwarded-For counts where TRUSTED_PROXIES says so, and for nothing else
            headers=list(SECURITY_HEADERS.items()),
            backlog=BACKLOG,
            ws=Connection,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=settings.monitoring_ping_seconds,
            ws_ping_timeout=settings.monitoring_ping_seconds,
            ws_per_message_deflate=False,  # 40 kB and a compression a second for each client
            http=_protocol(settings, connections, host_names, websocket_paths),
            timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type] # a timer takes fractions
            reset_contextvars=True,  # else a pipelined request starts inside the span of the one before
            timeout_graceful_shutdown=Ending(settings.shutdown_seconds).work_seconds,  # type: ignore[arg-type] # ditto
        ),
        connections,
    )


def _protocol(
    settings: Settings, connections: Connections, host_names: HostNames, websocket_paths: frozenset[bytes]
) -> type[asyncio.Protocol]:
    """Return what uvicorn calls for each connection, with what is the same for all."""
    made = partial(
        HttpProtocol,
        connections=connections,
        client_seconds=settings.client_timeout_seconds,
        host_names=host_names,
        root_path=settings.root_path.encode(),
        websocket_paths=websocket_paths,
    )
    return cast("type[asyncio.Protocol]", made)


@asynccontextmanager
async def serving(
    app: FastAPI,
    settings: Settings,
    telemetry: Telemetry,
    listener: socket.socket | None,
    stop: asyncio.Event,
    websocket_paths: frozenset[bytes] = frozenset(),
) -> AsyncIterator[None]:
    """Serve an application beside the block; signals are the block's business.

    Args:
        app: What is served.
        settings: The service's settings.
        telemetry: Of this process.
        listener: A socket that listens; nothing is served without one.
        stop: Set when the server ends by itself: the process ends, too, and is started again by who keeps it.
        websocket_paths: As those of `http_server`.
    """
    if listener is None:
        yield
        return
    server = http_server(app, settings, telemetry, listener, websocket_paths)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    task.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        server.end()
        await task


async def serve_until(drained: Callable[[], Awaitable[None]], server: "HttpServer", listener: socket.socket) -> None:
    """Serve until `drained` returns, or until the server ends by itself; then let it finish what it has begun."""
    task = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.ensure_future(drained())
    await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
    server.end()
    await task
    await cancel_and_wait((stopping,))


class HttpServer(uvicorn.Server):
    """uvicorn's, which resets nobody at its end, and sleeps while nobody asks it anything.

    Args:
        config: As uvicorn's.
        connections: All of the process.
    """

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections
        self._told_to_end = asyncio.Event()

    def end(self) -> None:
        """Let it end: it takes in no more connections, and answers what it has."""
        self.should_exit = True
        self._told_to_end.set()

    async def on_tick(self, counter: int) -> bool:
        """Keep the date that answers have, and sleep; uvicorn would look ten times a second whether it is to end."""
        if await super().on_tick(10 * counter):
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(DATE_SECONDS):
                await self._told_to_end.wait()
        return self.should_exit

    def drain(self) -> None:
        """Answer on as before; each answer says that its connection ends with it, so that nobody is left on one."""
        self._connections.draining = True
        for connection in self.server_state.connections:
            if isinstance(connection, HttpProtocol):
                connection.drain()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order; who has connected and was not taken in yet still is, and what was sent already is read."""
        waiting = [client for listening in sockets or () for client in _connected(listening)]
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        loop = asyncio.get_running_loop()
        for client in waiting:
            with suppress(OSError):  # it has gone already
                await loop.connect_accepted_socket(self._new_protocol, client)
        await asyncio.sleep(READ_SECONDS)
        await super().shutdown(sockets)

    def _new_protocol(self) -> asyncio.Protocol:
        kind = self.config.http_protocol_class
        return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg] # as uvicorn

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process: uvicorn raises the one that ended it once more when it is done."""
        yield


def _connected(listening: socket.socket) -> Iterator[socket.socket]:
    """Take in who has connected: the kernel resets them when nobody listens any more."""
    listening.setblocking(False)  # noqa: FBT003 - the library's
    while True:
        try:
            yield listening.accept()[0]
        except OSError:  # nobody more, or nothing to take them with
            return
