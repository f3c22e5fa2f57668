"""The demo catalogue: five products of a real sale, and one that never runs out so that the demo keeps living."""

from datetime import datetime
from typing import NamedTuple

from service.ledger.catalogue import ProductCatalogue

NEVER_OPENS = datetime.fromisoformat("2100-01-01T00:00:00+00:00")


class DemoProduct(NamedTuple):
    """A product of the demo, priced in US cents."""

    product_id: str
    name: str
    price: int
    stock: int
    per_user_limit: int | None
    in_sale: bool = True


DEMO = (
    DemoProduct("iphone-15-pro", "iPhone 15 Pro", 99_900, 100, 2),
    DemoProduct("samsung-galaxy-s24", "Samsung Galaxy S24", 79_900, 150, 2),
    DemoProduct("macbook-air-m3", "MacBook Air M3", 109_900, 50, 1),
    DemoProduct("sony-wh-1000xm5", "Sony WH-1000XM5", 34_900, 200, 2, in_sale=False),
    DemoProduct("apple-watch-series-9", "Apple Watch Series 9", 39_900, 75, 2),
    DemoProduct("sticker-pack", "Sticker Pack", 490, 100_000_000, None),
)


async def stock_demo(catalogue: ProductCatalogue) -> int:
    """Put the demo on sale in a store that has no products; return how many products were put."""
    if await catalogue.products():
        return 0
    for product in DEMO:
        await catalogue.put(
            product.product_id,
            name=product.name,
            price=product.price,
            currency="USD",
            stock=product.stock,
            limit=product.per_user_limit,
            opens=None if product.in_sale else NEVER_OPENS,
            closes=None,
        )
    return len(DEMO)
