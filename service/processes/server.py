"""The HTTP server of a process: uvicorn, which leaves signals, logging and sockets to us."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

from service.api.websocket import MAX_MESSAGE_BYTES
from service.api.websocket_protocol import Connection
from service.processes.sockets import BACKLOG
from service.settings import Settings


def http_server(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """A uvicorn server that leaves logging and sockets to us."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            ws=Connection,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=settings.monitoring_ping_seconds,
            ws_ping_timeout=settings.monitoring_ping_seconds,
            ws_per_message_deflate=False,  # 40 kB and a compression a second for each client
            reset_contextvars=True,  # else a pipelined request starts inside the span of the one before
            timeout_graceful_shutdown=max(int(settings.shutdown_seconds) - 1, 1),
        )
    )


@asynccontextmanager
async def serving(app: FastAPI, settings: Settings, listener: socket.socket | None) -> AsyncIterator[None]:
    """Serves an application beside the block; signals are the block's business."""
    if listener is None:
        yield
        return
    server = _Quiet(http_server(app, settings).config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


class _Quiet(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
