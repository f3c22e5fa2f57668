"""A worker that tells an endpoint of the changes of a sale, without the worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.api.cloud_events import event_json
from service.background import background_tasks
from service.ledger.orders import Order
from service.webhooks.attempts import Attempts
from service.webhooks.delivery import WebhookDelivery
from service.webhooks.endpoint import WebhookEndpoint
from service.webhooks.signing import keys_of
from telemetry.testing import Capture
from tests.orders.sale import Sale
from tests.support.webhooks import SECRET


@asynccontextmanager
async def telling(sale: Sale, url: str, seen: Capture, within: float = 2.0) -> AsyncIterator[None]:
    """Deliver as a worker does, for the length of the block."""
    endpoint = WebhookEndpoint(url, keys_of(SECRET), timeout=within)
    try:
        works = WebhookDelivery(sale.shards, Attempts(endpoint, seen.telemetry), event_json).works()
        async with background_tasks(*works):
            yield
    finally:
        await endpoint.aclose()


async def sell(sale: Sale, *users: str) -> list[Order]:
    """Sell a unit to each user."""
    orders = [await sale.buy(user_id=user) for user in users]
    await sale.take()
    for order in orders:
        await sale.settle(order, payment_id="paid")
    return orders


async def lag(sale: Sale) -> float:
    """Return how far the webhook is behind."""
    return (await sale.snapshot()).webhook_lag_seconds


async def none_behind(sale: Sale) -> bool:
    """Whether all is told."""
    return await lag(sale) == 0


async def behind(sale: Sale, seconds: float) -> bool:
    """Whether the webhook is so far behind."""
    return await lag(sale) > seconds
