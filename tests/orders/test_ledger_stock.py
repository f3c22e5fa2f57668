"""The catalogue's steps: every unit that comes or goes is booked, and a step sent twice counts once."""

from datetime import UTC, datetime, timedelta

from service.ledger.catalogue import Change
from service.ledger.orders import Outcome
from tests.orders.sale import Sale, ShardsTwice


async def test_a_new_product_is_what_was_put(sale: Sale) -> None:
    """All fields come back; its stock is its initial stock."""
    opens = datetime(2030, 1, 1, 12, 0, 0, 123_000, UTC)
    change, product = await sale.product("phone", stock=7, limit=2, opens=opens, closes=opens + timedelta(hours=1))
    assert change is Change.CREATED
    assert product is not None
    assert product == await sale.catalogue.product("phone")
    assert (product.name, product.price, product.currency, product.per_user_limit) == ("Phone", 99_900, "EUR", 2)
    assert (product.opens_at, product.closes_at) == (opens, opens + timedelta(hours=1))
    assert (product.initial_stock, product.restocked, product.stock, product.held, product.sold) == (7, 0, 7, 0, 0)


async def test_put_on_a_product_that_sells_books_the_difference(sale: Sale) -> None:
    """`stock` is what is left from now on; what is held and sold stays, up or down."""
    await sale.product(stock=10)
    await sale.buy(quantity=4)
    for stock, restocked in ((20, 14), (0, -6), (6, 0), (6, 0)):
        change, product = await sale.product(stock=stock)
        assert change is Change.CHANGED
        assert product is not None
        assert (product.initial_stock, product.restocked, product.stock, product.held) == (10, restocked, stock, 4)
        assert product.drift == 0


async def test_patch_changes_what_is_given_and_nothing_else(sale: Sale) -> None:
    """A limit can be taken away, a stock set, a sale closed, each without the other."""
    await sale.product(stock=10, limit=1)
    before = await sale.catalogue.product("phone")
    assert before is not None
    _, unlimited = await sale.catalogue.patch("phone", limit=None)
    assert unlimited is not None
    assert (unlimited.per_user_limit, unlimited.stock, unlimited.opens_at) == (None, 10, before.opens_at)
    _, fewer = await sale.catalogue.patch("phone", stock=4, price=5)
    assert fewer is not None
    assert (fewer.stock, fewer.restocked, fewer.price, fewer.name) == (4, -6, 5, "Phone")
    await sale.catalogue.patch("phone", opens=datetime.now(UTC) + timedelta(hours=1))
    assert await sale.try_buy() is Outcome.SALE_NOT_OPEN
    await sale.catalogue.patch("phone", opens=None)
    assert await sale.try_buy() is Outcome.ACCEPTED


async def test_a_lower_price_is_for_orders_to_come(sale: Sale) -> None:
    """An accepted order keeps the price at which it was accepted."""
    await sale.product(price=100)
    order = await sale.buy(quantity=2)
    await sale.catalogue.patch("phone", price=1)
    assert ((await sale.order(order)).amount, (await sale.buy()).amount) == (200, 1)


async def test_a_lower_limit_takes_nothing_away(sale: Sale) -> None:
    """Who has more than the new limit keeps it and gets no more."""
    await sale.product(limit=3)
    await sale.buy(quantity=3)
    await sale.catalogue.patch("phone", limit=1)
    assert await sale.try_buy() is Outcome.LIMIT_EXCEEDED
    assert await sale.units() == (7, 3, 0)


async def test_a_restock_adds_units(sale: Sale) -> None:
    """Sold out is over with the next unit."""
    await sale.product(stock=1)
    await sale.buy()
    assert await sale.try_buy() is Outcome.SOLD_OUT
    change, product = await sale.catalogue.restock("phone", 2)
    assert change is Change.CHANGED
    assert product is not None
    assert (product.restocked, product.stock) == (2, 2)
    await sale.buy(quantity=2)


async def test_no_more_units_can_be_taken_than_are_left(sale: Sale) -> None:
    """A negative restock may empty the stock; below nothing it is refused, as is a negative stock."""
    await sale.product(stock=5)
    await sale.buy(quantity=2)
    assert await sale.catalogue.restock("phone", -4) == (Change.BAD_STOCK, None)
    assert (await sale.catalogue.restock("phone", -3))[0] is Change.CHANGED
    assert await sale.units() == (0, 2, 0)
    assert (await sale.catalogue.patch("phone", stock=-1))[0] is Change.BAD_STOCK
    assert (await sale.product("other", stock=-1))[0] is Change.BAD_STOCK
    assert await sale.catalogue.product("other") is None


async def test_only_put_makes_a_product(sale: Sale) -> None:
    """A patch or a restock of what is not there says so, and leaves nothing."""
    assert await sale.catalogue.patch("ghost", stock=3) == (Change.UNKNOWN_PRODUCT, None)
    assert await sale.catalogue.restock("ghost", 3) == (Change.UNKNOWN_PRODUCT, None)
    assert not await sale.catalogue.products()


async def test_products_are_listed_by_id(sale: Sale) -> None:
    """Whatever the order in which they came."""
    for name in ("c", "a", "b"):
        await sale.product(name)
    assert [product.product_id for product in await sale.catalogue.products()] == ["a", "b", "c"]


async def test_a_step_sent_twice_counts_once(sale: Sale) -> None:
    """Even when a sale went on in between: the second time is the answer to the first, with the figures of now."""
    await sale.product(stock=10)
    shards = ShardsTwice(sale.shards.client, sale.shards.scripts)
    twice = Sale(shards)
    change, product = await twice.catalogue.restock("phone", 5)
    assert (change, product and product.stock) == (Change.CHANGED, 15)
    change, _ = await twice.product("new", stock=3)
    assert (change, await sale.units("new")) == (Change.CREATED, (3, 0, 0))
    args = ("request-1", 60_000, "", "phone", "patch", "", "call", "stock", 8)
    await sale.shards.run("stock", 0, *args)
    await sale.buy(quantity=2)
    reply = await sale.shards.run("stock", 0, *args)
    assert (reply[0], await sale.units()) == ("changed", (6, 2, 0))
