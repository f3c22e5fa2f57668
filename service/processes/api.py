"""An API process: it serves until SIGTERM or SIGINT, and then ends cleanly."""

import socket

import uvicorn

from service.api.app import create_app
from service.api.context import ApiContext
from service.faults import faulty_shards, watched
from service.processes.server import http_server
from service.processes.signals import polite_signals
from service.processes.startup import open_shards
from service.settings import Settings
from telemetry import Telemetry


async def serve_api(settings: Settings, telemetry: Telemetry, store_url: str, listener: socket.socket) -> None:
    """Serves the API on a socket that listens."""
    slot = telemetry.settings.worker
    tracer = telemetry.tracer("service.store")
    async with (
        open_shards(settings, store_url, name=slot, tracer=tracer) as real,
        watched(settings, store_url, slot) as faults,
    ):
        server: uvicorn.Server
        shards = faulty_shards(real, faults)
        context = ApiContext(settings, telemetry, shards, lambda: len(server.server_state.connections), faults)
        server = http_server(create_app(context), settings)
        with polite_signals():
            await server.serve(sockets=[listener])
