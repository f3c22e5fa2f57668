"""What was earned: exact, by currency, from the step that changes the order, and the same wherever it is shown."""

from datetime import UTC, datetime, timedelta

from service.ledger.audit import dump_ledger, violations
from service.ledger.orders import Order, Status
from service.ledger.refunds import Refund, refund_order
from tests.orders.sale import AT_ONCE, Sale, ShardsTwice
from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop
from tests.support.waiting import wait_until


async def pay(sale: Sale, product_id: str = "phone", quantity: int = 1) -> Order:
    """Buy and pay."""
    order = await sale.buy(product_id, quantity=quantity)
    await sale.take(shard=sale.shards.of(product_id))
    await sale.settle(order, payment_id="paid")
    return order


async def test_revenue_is_what_was_confirmed_less_what_was_refunded(sale: Sale) -> None:
    """At the price of the order, whatever ended otherwise, and also of orders that were forgotten."""
    await sale.product(price=10**12, stock=5000)
    assert (await sale.snapshot()).revenue == {}
    large = await pay(sale, quantity=1000)
    await sale.catalogue.patch("phone", price=7, currency="USD")
    small = await pay(sale, quantity=3)
    failed = await sale.buy()
    await sale.take()
    await sale.settle(failed, Status.FAILED, "declined")
    await sale.ledger.cancel((await sale.buy()).order_id)
    assert (await sale.snapshot()).revenue == {"EUR": 10**15, "USD": 21}
    await refund_order(sale.shards, Refund(order_id=small.order_id, quantity=1, return_to_stock=False))
    await refund_order(sale.shards, Refund(order_id=large.order_id, quantity=999))
    assert (await sale.snapshot()).revenue == {"EUR": 10**12, "USD": 14}
    await sale.ledger.refunds(0, timedelta(), 10, await sale.ledger.refunds(0, timedelta(minutes=1), 10))
    assert await sale.under(retention=AT_ONCE).ledger.forget(0)
    assert (await sale.snapshot()).revenue == {"EUR": 10**12, "USD": 14}
    await sale.catalogue.patch("phone", price=0, currency="JPY")
    await refund_order(sale.shards, Refund(order_id=(await pay(sale)).order_id))
    assert (await sale.snapshot()).revenue["JPY"] == 0


async def test_a_step_that_is_sent_twice_earns_once(sale: Sale) -> None:
    """The store's client sends again what it got no reply to."""
    await sale.product(price=5)
    twice = Sale(ShardsTwice(sale.shards.client, sale.shards.scripts))
    order = await pay(twice, quantity=2)
    assert (await sale.snapshot()).revenue == {"EUR": 10}
    await refund_order(twice.shards, Refund(order_id=order.order_id, quantity=1))
    assert (await sale.snapshot()).revenue == {"EUR": 5}


async def test_a_total_that_is_full_stops_no_settlement(sale: Sale) -> None:
    """The store counts to 2^63; an order must end whatever it says."""
    await sale.product(price=5)
    await sale.shards.client.hset("{fs:00}:totals", "revenue:EUR", 2**63 - 1)
    assert await sale.status(await pay(sale)) is Status.CONFIRMED
    await sale.shards.client.hset("{fs:00}:totals", "revenue:EUR", 5)


async def sell(shop: Shop, product_id: str) -> None:
    """Sell two units of a product."""
    await shop.order(product_id=product_id, quantity=2)
    sale = Sale(shop.service.shards)
    for begun in await sale.take(shard=sale.shards.of(product_id)):
        assert begun.order is not None
        await sale.settle(begun.order)


async def test_the_same_is_shown_by_the_metric_and_the_snapshot(valkey_server: RedisServer) -> None:
    """Added up over the shards; each product with its window and how its sale stands."""
    async with open_shop(valkey_server.url, store_shards=3) as shop:
        names = ("desk", "lamp", "sofa", "vase")
        assert len({shop.service.shards.of(name) for name in names}) > 1
        for name in names:
            await shop.put(name, currency="JPY" if name == "vase" else "EUR")
            await sell(shop, name)
        closes = datetime.now(UTC) + timedelta(hours=1)
        later = (closes - timedelta(minutes=1)).isoformat()
        await shop.put("desk", opens_at=later, closes_at=closes.isoformat())
        await shop.client.patch("/inventory/sofa", json={"paused": True, "stock": 0}, headers=ADMIN)
        await shop.client.patch("/inventory/lamp", json={"stock": 0}, headers=ADMIN)
        await shop.client.delete("/inventory/vase", headers=ADMIN)
        await shop.service.poller.fresh()
        await wait_until(shop.service.poller.exported, 10, "the lease is ours")
        for currency, earned in (("EUR", 3 * 2 * 4950), ("JPY", 2 * 4950)):
            assert shop.seen.value("flash_sale_revenue_minor_units", currency=currency) == earned
        shown = (await shop.client.get("/monitoring/metrics")).json()
        assert (shown["revenue"], shown["orders"]["refunded"]) == ({"EUR": 29700, "JPY": 9900}, 0)
        states = {product["product_id"]: product["state"] for product in shown["products"]}
        assert states == {"desk": "not_open", "lamp": "sold_out", "sofa": "paused", "vase": "archived"}
        desk, lamp = shown["products"][:2]
        opens = datetime.fromisoformat(desk["opens_at"])
        assert abs(opens - datetime.fromisoformat(later)) < timedelta(milliseconds=1)
        assert (lamp["closes_at"], desk["closes_at"] is None) == (None, False)
        assert violations(await dump_ledger(shop.service.shards)) == []
