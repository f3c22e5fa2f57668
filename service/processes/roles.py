"""The roles of a process: an API process, an order worker. Each runs until SIGTERM or SIGINT and then ends cleanly."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from service.api.app import create_app
from service.api.context import Service
from service.api.service_health import says
from service.api.websocket import MOST_MESSAGE_BYTES
from service.api.websocket_protocol import Connection
from service.background import running
from service.faults import faulty_gateway, faulty_shards, watched
from service.ledger.ledger import Ledger
from service.metrics import WORKER_PROGRESS_AGE
from service.monitoring.live import open_windows
from service.monitoring.reporting import keep_reporting
from service.orders.housekeeping import keep_house
from service.orders.payments import gateway
from service.orders.processing import Processor
from service.orders.refunds import Refunds
from service.orders.worker import BLOCK_SECONDS, Worker, new_consumer
from service.processes.opening import opened
from service.processes.worker_app import create_worker_app
from service.settings import Settings
from service.store import connect
from telemetry import Telemetry, TelemetrySettings

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKLOG = 2048


def telemetry_settings(environ: Mapping[str, str], slot: str) -> TelemetrySettings:
    """The telemetry of the process in a slot, such as `api-0`."""
    return TelemetrySettings.from_env(
        environ, service_name="flash-sale", service_version=version("flash-sale"), worker=slot
    )


async def serve_api(settings: Settings, telemetry: Telemetry, store_url: str, listener: socket.socket) -> None:
    """Serves the API on a socket that listens."""
    slot = telemetry.settings.worker
    tracer = telemetry.tracer("service.store")
    async with (
        opened(settings, store_url, name=slot, tracer=tracer) as real,
        watched(settings, store_url, slot) as faults,
    ):
        server: uvicorn.Server
        shards = faulty_shards(real, faults)
        service = Service(settings, telemetry, shards, lambda: len(server.server_state.connections), faults)
        server = http_server(create_app(service), settings)
        with polite_signals():
            await server.serve(sockets=[listener])


async def serve_worker(
    settings: Settings, telemetry: Telemetry, store_url: str, listener: socket.socket | None
) -> None:
    """Works off the queue; serves `/metrics`, `/healthz` and `/readyz` on the socket if there is one."""
    slot = telemetry.settings.worker
    tracer = telemetry.tracer("service.orders.worker")
    payments = gateway(settings.payment, telemetry.tracer_provider)
    reader = connect(store_url, name=f"{slot}-reader", timeout_seconds=5, block_seconds=BLOCK_SECONDS)
    stop = asyncio.Event()
    telemetry.start()
    try:
        async with (
            reader,
            opened(settings, store_url, name=slot, tracer=telemetry.tracer("service.store")) as real,
            watched(settings, store_url, slot) as faults,
        ):
            shards, payments = faulty_shards(real, faults), faulty_gateway(payments, faults, telemetry)
            ledger = Ledger(shards, settings.terms)
            processor = Processor(ledger, payments, telemetry, retry=timedelta(seconds=settings.order_retry_seconds))
            worker = Worker(
                ledger,
                reader,
                processor,
                tracer,
                consumer=new_consumer(slot),
                concurrency=settings.order_concurrency,
                silence=timedelta(seconds=settings.worker_silence_seconds),
            )
            windows = open_windows(shards, slot, lambda: says(worker))
            telemetry.observe(WORKER_PROGRESS_AGE, lambda: [(worker.progress_age_seconds(), {})])
            with stopped_by_signals(stop):
                async with (
                    running(keep_house(ledger), Refunds(ledger, payments, telemetry).run(), keep_reporting(windows)),
                    telemetry.offered(),
                    serving(create_worker_app(telemetry, shards), settings, listener),
                ):
                    await worker.run(stop, timedelta(seconds=settings.shutdown_seconds))
    finally:
        await payments.aclose()
        await asyncio.to_thread(telemetry.shutdown)


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
            ws_max_size=MOST_MESSAGE_BYTES,
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
    def capture_signals(self) -> "Iterator[None]":
        yield


@contextmanager
def polite_signals() -> "Iterator[None]":
    """Keeps uvicorn from ending the process: it raises the signal that ended it once more when it is done."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopped_by_signals(stop: asyncio.Event) -> "Iterator[None]":
    """Sets an event at SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
