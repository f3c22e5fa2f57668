"""The catalogue's steps in the ledger: create or change a product, add units, read.

Those who read at one time share a round trip, and never get what was read before they asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple, Self

from service.ledger.once_only import OnceOnly, begin_once
from service.ledger.products import Product
from service.store import Arg, BatchTrace, ShardBatcher, Shards, SharedRead, is_store_down, keys

MAX_BATCH = 128
Field = str | int | datetime | None


class Change(StrEnum):
    """What a change to the catalogue came to; `bad_window`: it would close before it opens; `bad_stock`: below 0."""

    CREATED = "created"
    CHANGED = "changed"
    UNKNOWN_PRODUCT = "unknown_product"
    BAD_WINDOW = "bad_window"
    BAD_STOCK = "bad_stock"
    STOCK_BELOW_SOLD = "stock_below_sold"
    HAS_OPEN_ORDERS = "has_open_orders"
    CHANGED_MEANWHILE = "changed_meanwhile"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"


class Changed(NamedTuple):
    """The answer to a change; `product` is None where nothing was changed, `replayed` says that it was made earlier."""

    change: Change
    product: Product | None
    replayed: bool


class FoundProducts(tuple[Product, ...]):  # noqa: SLOT001 - a tuple cannot have slots of its own
    """Products of every shard that answered; `missing_shards` are the others; None where there is one shard."""

    missing_shards: tuple[int, ...] | None

    def __new__(cls, products: Iterable[Product] = (), missing_shards: tuple[int, ...] | None = None) -> Self:
        """Make the tuple."""
        made = super().__new__(cls, products)
        made.missing_shards = missing_shards
        return made


class ProductCatalogue:
    """The products of every shard."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._all = SharedRead(self._read_all)
        self._some = ShardBatcher(shards, self._read_some, limit=MAX_BATCH, ends_all=is_store_down)

    async def put(self, product_id: str, **fields: Field) -> tuple[Change, Product | None]:
        """Create a product, or change it; a difference in `stock` or `total` is booked as a restock.

        Args:
            product_id: Which product.
            fields: name, price, currency, limit, opens, closes, and either stock or total; all of them.
        """
        return (await self.change("put", product_id, fields))[:2]

    async def patch(self, product_id: str, **fields: Field) -> tuple[Change, Product | None]:
        """Change the given fields of a product."""
        return (await self.change("patch", product_id, fields))[:2]

    async def archive(self, product_id: str) -> tuple[Change, Product | None]:
        """Take a product off sale for good, unless orders hold some of it; its units and orders stay in the books."""
        return (await self.change("archive", product_id, {}))[:2]

    async def restock(self, product_id: str, units: int) -> tuple[Change, Product | None]:
        """Add units to what is left to sell."""
        return (await self.change("restock", product_id, {"units": units}))[:2]

    async def change(
        self,
        mode: Literal["put", "patch", "restock", "archive"],
        product_id: str,
        fields: Mapping[str, Field],
        *,
        once: OnceOnly | None = None,
        match: str = "",
    ) -> Changed:
        """Make one change, whole or not at all.

        Args:
            mode: What is done, see the methods of these names; a product that is archived is no longer offered.
            product_id: Which product.
            fields: By the ledger's names.
            once: The request that this is, where the caller may send it again.
            match: The revisions that the product may have: any, `*` for that it exists, or some divided by commas.

        Raises:
            redis.exceptions.RedisError: The store is down; the change may have been made.
        """
        shard = self._shards.of(product_id)
        request = await begin_once(self._shards, shard, once)
        if request is None:
            return Changed(Change.IDEMPOTENCY_CONFLICT, None, replayed=False)
        *about, call = request
        args: list[Arg] = [*about, keys.escape(product_id), mode, match, call]
        for name, value in fields.items():
            args += [name, _plain(value)]
        reply = await self._shards.run("stock", shard, *args)
        return Changed(Change(reply[0]), Product.from_row(reply[1]) if len(reply) > 1 else None, reply[2:] == [1])

    async def product(self, product_id: str) -> Product | None:
        """Read one product."""
        return await self._some.submit(self._shards.of(product_id), keys.escape(product_id))

    async def products(self) -> FoundProducts:
        """Read all products, by id."""
        return await self._all()

    async def aclose(self) -> None:
        """End what is being read."""
        await self._all.aclose()
        await self._some.aclose()

    async def _read_all(self, trace: BatchTrace) -> FoundProducts:
        found = await self._shards.gather("products", trace=trace)
        products = [Product.from_row(row) for rows in found.replies.values() for row in rows]
        return FoundProducts(sorted(products, key=lambda product: product.product_id), found.missing)

    async def _read_some(self, shard: int, wanted: Sequence[str], trace: BatchTrace) -> Sequence[Product | None]:
        names = list(dict.fromkeys(wanted))
        rows = await self._shards.run("product", shard, *names, batch=len(names), trace=trace)
        found = dict(zip(names, (Product.from_row(row) if row else None for row in rows), strict=True))
        return [found[name] for name in wanted]


def _plain(value: Field) -> str | int:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return "" if value is None else value
