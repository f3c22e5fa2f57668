"""An order worker: it works off the queue until it is told to stop, and then ends cleanly."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from service.api.cloud_events import event_json
from service.api.context import siblings_of
from service.api.service_health import worker_report
from service.background import Work, background_tasks
from service.ending import Ending
from service.faults import faulty_gateway, faulty_shards, watched
from service.ledger.ledger import Ledger
from service.ledger.write_check import WriteCheck
from service.metrics import WORKER_PROGRESS_AGE
from service.monitoring.flushing import flush_periodically
from service.monitoring.live import open_windows
from service.orders.charges import Charges
from service.orders.concurrency import ConcurrencyLimit
from service.orders.maintenance import maintenance
from service.orders.payments import PaymentGateway, gateway
from service.orders.processing import Processor
from service.orders.refunds import Refunds
from service.orders.worker import BLOCK, Worker, new_consumer
from service.processes.server import serving
from service.processes.startup import open_shards
from service.processes.worker_app import create_worker_app
from service.settings import Settings
from service.store import Shards
from service.webhooks.attempts import Attempts
from service.webhooks.delivery import WebhookDelivery
from service.webhooks.signing import keys_of
from telemetry import Telemetry


async def serve_worker(
    settings: Settings, telemetry: Telemetry, store_url: str, stop: asyncio.Event, *, listener: socket.socket | None
) -> None:
    """Work off the queue until `stop` is set; serve `/metrics` and the health routes on the socket if there is one.

    Raises:
        Stopped: `stop` was set while the store was waited for.
    """
    slot = telemetry.worker
    tracer, block = telemetry.tracer("service.store"), BLOCK.total_seconds()
    payments = gateway(settings.payment, telemetry.tracer_provider)
    ending = Ending(settings.shutdown_seconds)
    telemetry.start()
    try:
        async with (
            ending.begins_with(stop),
            open_shards(settings, store_url, name=slot, tracer=tracer, block_seconds=block, stop=stop) as real,
            watched(settings, store_url, slot) as faults,
        ):
            shards, payments = faulty_shards(real, faults), faulty_gateway(payments, faults, telemetry)
            ledger = Ledger(shards, settings.policy)
            worker = _worker(settings, telemetry, ledger, payments)
            siblings = siblings_of(telemetry, faults)
            writes = WriteCheck(shards, settings.store_timeout_seconds, siblings=siblings)
            windows = open_windows(shards, slot, lambda: worker_report(worker), silence=settings.worker_silence)
            telemetry.observe(WORKER_PROGRESS_AGE, lambda: [(worker.progress_age_seconds(), {})])
            async with (
                siblings.listening(),
                _webhooks(settings, telemetry, shards) as webhooks,
                background_tasks(
                    writes.run,
                    *maintenance(ledger, siblings),
                    *webhooks,
                    *Refunds(ledger, payments, telemetry).works(),
                    partial(flush_periodically, windows),
                ),
                telemetry.serving_peers(),
                serving(create_worker_app(telemetry, writes, stop), settings, telemetry, listener, stop),
            ):
                await worker.run(stop, timedelta(seconds=ending.work_seconds))
    finally:
        await payments.aclose()
        await asyncio.to_thread(telemetry.shutdown, ending.telemetry_seconds)


@asynccontextmanager
async def _webhooks(settings: Settings, telemetry: Telemetry, shards: Shards) -> AsyncIterator[list[Work]]:
    """Yield what is to be kept going so that the merchant's endpoint is told; close its connections at the end."""
    url, secret = settings.webhook.url, settings.webhook.secret
    if url is None or secret is None:
        yield []
        return
    from service.webhooks.endpoint import WebhookEndpoint  # noqa: PLC0415 - an HTTP client is slow to import

    keys = keys_of(secret.get_secret_value())
    endpoint = WebhookEndpoint(url.get_secret_value(), keys)
    try:
        yield WebhookDelivery(shards, Attempts(endpoint, telemetry), event_json).works()
    finally:
        await endpoint.aclose()


def _worker(settings: Settings, telemetry: Telemetry, ledger: Ledger, payments: PaymentGateway) -> Worker:
    limit = ConcurrencyLimit(settings.order_concurrency)
    charges = Charges(payments, telemetry, limit)
    retry = timedelta(seconds=settings.order_retry_seconds)
    return Worker(
        ledger,
        Processor(ledger, charges, telemetry, retry=retry),
        telemetry.tracer("service.orders.worker"),
        consumer=new_consumer(telemetry.worker),
        limit=limit,
        silence=settings.worker_silence,
    )
