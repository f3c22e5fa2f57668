"""The catalogue's steps in the ledger: create or change a product, add units, read.

Those who read at one time share a round trip, and never get what was read before they asked.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from service.ledger.products import Product
from service.store import BatchTrace, ShardBatcher, Shards, SharedRead, is_store_down, keys

REPLY_KEPT = timedelta(minutes=10)
MAX_BATCH = 128


class Change(StrEnum):
    """What a change to the catalogue came to; `bad_window`: it would close before it opens; `bad_stock`: below 0."""

    CREATED = "created"
    CHANGED = "changed"
    UNKNOWN_PRODUCT = "unknown_product"
    BAD_WINDOW = "bad_window"
    BAD_STOCK = "bad_stock"


class ProductCatalogue:
    """The products of every shard."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._all = SharedRead(self._read_all)
        self._some = ShardBatcher(shards, self._read_some, limit=MAX_BATCH, ends_all=is_store_down)

    async def put(self, product_id: str, **fields: str | int | datetime | None) -> tuple[Change, Product | None]:
        """Create a product, or change it; a difference in `stock` is booked as a restock.

        Args:
            product_id: Which product.
            fields: name, price, currency, stock, limit, opens, closes; all of them.
        """
        return await self._change("put", product_id, fields)

    async def patch(self, product_id: str, **fields: str | int | datetime | None) -> tuple[Change, Product | None]:
        """Change the given fields of a product."""
        return await self._change("patch", product_id, fields)

    async def restock(self, product_id: str, units: int) -> tuple[Change, Product | None]:
        """Add units to what is left to sell."""
        return await self._change("restock", product_id, {"units": units})

    async def product(self, product_id: str) -> Product | None:
        """Read one product."""
        return await self._some.submit(self._shards.of(product_id), keys.escape(product_id))

    async def products(self) -> tuple[Product, ...]:
        """Read all products, by id."""
        return await self._all()

    async def aclose(self) -> None:
        """End what is being read."""
        await self._all.aclose()
        await self._some.aclose()

    async def _read_all(self, trace: BatchTrace) -> tuple[Product, ...]:
        rows = [row for shard in self._shards for row in await self._shards.run("products", shard, trace=trace)]
        return tuple(sorted(map(Product.from_row, rows), key=lambda product: product.product_id))

    async def _read_some(self, shard: int, wanted: Sequence[str], trace: BatchTrace) -> Sequence[Product | None]:
        names = list(dict.fromkeys(wanted))
        rows = await self._shards.run("product", shard, *names, batch=len(names), trace=trace)
        found = dict(zip(names, (Product.from_row(row) if row else None for row in rows), strict=True))
        return [found[name] for name in wanted]

    async def _change(
        self, mode: str, product_id: str, fields: dict[str, str | int | datetime | None]
    ) -> tuple[Change, Product | None]:
        args: list[str | int] = [secrets.token_hex(8), REPLY_KEPT // timedelta(milliseconds=1)]
        args += [keys.escape(product_id), mode]
        for name, value in fields.items():
            args += [name, _plain(value)]
        reply = await self._shards.run("stock", self._shards.of(product_id), *args)
        return Change(reply[0]), Product.from_row(reply[1]) if len(reply) > 1 else None


def _plain(value: str | int | datetime | None) -> str | int:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return "" if value is None else value
