"""Stocks a store: for our service by the catalogue's own steps, for its peers by the hash that it reads."""

import asyncio
from datetime import UTC, datetime

from benchmarks.store import Store
from benchmarks.subjects import Subject
from service.ledger.catalogue import Change, ProductCatalogue
from service.ledger.ledger import ledger_scripts
from service.store import Shards, connect

PRICE, CURRENCY = 4950, "EUR"
OPENS = datetime(2020, 1, 1, tzinfo=UTC)


class ShopError(RuntimeError):
    """The catalogue did not take a product."""


def stock(subject: Subject, store: Store, products: int, units: int) -> None:
    """Put products `p0`, `p1`, ... on sale for a subject."""
    if subject.kind in ("baseline", "go"):
        for number in range(products):
            store.hash_set(f"product:p{number}", {"stock": units, "price": PRICE, "currency": CURRENCY})
    elif subject.kind == "ours":
        put_products(store, products, units)


def put_products(store: Store, products: int, units: int) -> None:
    """Put products on sale in our service's store, whether it runs or not.

    Raises:
        ShopError: One was not created.
    """
    asyncio.run(_put(store.url, products, units))


async def _put(url: str, products: int, units: int) -> None:
    async with connect(url, name="benchmark", timeout_seconds=30) as client:
        shards = Shards(client, ledger_scripts())
        await shards.prepare()
        catalogue = ProductCatalogue(shards)
        for number in range(products):
            change, _ = await catalogue.put(
                f"p{number}",
                name="Lamp",
                price=PRICE,
                currency=CURRENCY,
                stock=units,
                limit=None,
                opens=OPENS,
                closes=None,
            )
            if change is not Change.CREATED:
                raise ShopError(f"p{number}: {change}")
