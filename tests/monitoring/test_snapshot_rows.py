"""A snapshot that remembers the last one says the same as one that does not, and keeps what has not changed."""

import os
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.ledger.catalogue import ProductCatalogue
from service.ledger.ledger import ledger_scripts
from service.ledger.snapshot import ProductRows, take_snapshot
from service.store import Shards, connect
from tests.support import RedisServer

FIELDS: dict[str, Any] = {"name": "Lamp", "price": 100, "currency": "EUR", "stock": 10, "limit": None, "closes": None}
OPENS = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def shards(valkey_server: RedisServer) -> AsyncIterator[Shards]:
    """Yield a prepared store of two shards."""
    async with connect(valkey_server.url, name="test") as client:
        made = Shards(client, ledger_scripts(), count=2)
        await made.prepare()
        yield made


async def test_only_what_changed_is_read_anew(shards: Shards) -> None:
    """Products are made, restocked and moved at random; SEED=... repeats a run."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    chance = random.Random(seed)
    catalogue, rows = ProductCatalogue(shards), ProductRows()
    names = [f"p {number}/é" for number in range(8)]
    known = {product.product_id: product for product in (await take_snapshot(shards, rows)).products}
    for _ in range(30):
        changed = chance.choice(names)
        if chance.random() < 0.5 or changed not in known:
            opens = OPENS + timedelta(days=chance.randrange(3))
            await catalogue.put(changed, **FIELDS, opens=opens)
        else:
            await catalogue.restock(changed, chance.randrange(1, 5))
        products = (await take_snapshot(shards, rows)).products
        assert products == (await take_snapshot(shards)).products, f"SEED={seed}"
        for product in products:
            if product.product_id != changed:
                assert product is known[product.product_id], f"SEED={seed}"
        known = {product.product_id: product for product in products}
    await catalogue.aclose()
