"""An API process: it serves until it is told to stop, and then ends cleanly."""

import asyncio
import socket

import structlog

from service.api import websocket
from service.api.app import create_app
from service.api.context import ApiContext
from service.faults import faulty_shards, watched
from service.processes.server import HttpServer, http_server, serve_until
from service.processes.signals import StopRequest
from service.processes.startup import open_shards
from service.settings import Settings
from telemetry import Telemetry


async def serve_api(
    settings: Settings, telemetry: Telemetry, store_url: str, stop: StopRequest, *, listener: socket.socket
) -> None:
    """Serve the API on a socket that listens, until `stop` is set, and then for as long as it drains.

    Raises:
        Stopped: `stop` was set while the store was waited for.
    """
    slot = telemetry.worker
    tracer = telemetry.tracer("service.store")
    async with (
        open_shards(settings, store_url, name=slot, tracer=tracer, stop=stop) as real,
        watched(settings, store_url, slot) as faults,
    ):
        server: HttpServer
        shards = faulty_shards(real, faults)
        context = ApiContext(settings, telemetry, shards, lambda: len(server.server_state.connections), faults, stop)
        server = http_server(create_app(context), settings, telemetry, listener, websocket.PATHS)
        closing = asyncio.Event()

        async def drain() -> None:
            await stop.wait()
            context.draining = True
            server.drain()
            if settings.drain_seconds and not stop.at_once.is_set():
                log = structlog.get_logger("service.processes")
                log.info("not ready any more, serving on", drain_seconds=settings.drain_seconds)
            await stop.drained(settings.drain_seconds)
            closing.set()

        async with context.ending.begins_with(closing):
            await serve_until(drain, server, listener)
