"""A sale on either server; its books are audited at the end of each test."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.orders.sale import Sale


@pytest.fixture
async def sale(store: Redis) -> AsyncIterator[Sale]:
    """Yield a sale with no product yet; whatever the test did, its books must be in order."""
    opened = await Sale.open(store)
    yield opened
    await opened.dump()
