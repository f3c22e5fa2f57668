"""Orders that cannot be paid for, and reservations that nobody begins."""

import asyncio
from collections import Counter

import pytest

from service.ledger.orders import Status
from tests.faults.conftest import Paid
from tests.faults.kit import PRODUCT, Auditor, assert_paid_once, buy, fleet, metric, put_product, sale, statuses
from tests.support import RedisServer, wait_until
from tests.support.cli import flash_sale

ORDERS = 20
STOCK = 100
ATTEMPTS = 3


async def dead_letters(store_url: str, *arguments: str) -> str:
    """Run `flash-sale dead-letters`, which must succeed, and return what it says."""
    done = await asyncio.to_thread(flash_sale, "dead-letters", *arguments, env={"REDIS_URL": store_url})
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.parametrize("mood", ["down", "lossy"])
async def test_orders_outlive_a_gateway_that_is_out(
    durable: RedisServer, auditor: Auditor, paid: Paid, mood: str
) -> None:
    """Deferred, given up, their units for sale again; requeued they are confirmed. One charge a generation is kept."""
    bank, env = paid
    setattr(bank, mood, True)
    env |= {"ORDER_ATTEMPTS": str(ATTEMPTS), "ORDER_RETRY_SECONDS": "0.1", "PAYMENT_ATTEMPTS": "1"}
    async with sale(durable.url, workers=2, env=env) as (api, _):
        await put_product(api.url, stock=STOCK)
        order_ids = await buy(api.url, ORDERS)

        async def all_dead() -> bool:
            return (await auditor.dump()).dead == set(order_ids)

        await wait_until(all_dead, 20, "all orders are dead letters")
        dump = await auditor.at_rest()
        assert statuses(dump) == {"failed": ORDERS}
        assert {order.attempts for order in dump.orders.values()} == {ATTEMPTS}
        assert (dump.products[PRODUCT].stock, dump.products[PRODUCT].held) == (STOCK, 0)
        assert bank.asked == dict.fromkeys(order_ids, ATTEMPTS)
        assert f"{ORDERS} dead letters" in await dead_letters(durable.url, "list")
        setattr(bank, mood, False)
        await wait_until(lambda: bank.kept() == {}, 15, "what was captured in the first generation is given back")
        assert f"{ORDERS} requeued" in await dead_letters(durable.url, "requeue", "--all")
        dump = await auditor.at_rest()
        assert statuses(dump) == {"confirmed": ORDERS}
        assert dump.products[PRODUCT].stock == STOCK - ORDERS
        assert_paid_once(bank, dump)
        generations = Counter(body["order_id"] for body in bank.captured.values())
        assert generations == dict.fromkeys(order_ids, 1 if mood == "down" else 2)


async def test_reservations_end_once_though_two_processes_keep_house(durable: RedisServer, auditor: Auditor) -> None:
    """No worker comes: after RESERVATION_TTL_SECONDS the units are for sale again, each once."""
    async with fleet(durable.url, command="api", api=2, env={"RESERVATION_TTL_SECONDS": "3"}) as api:
        await put_product(api.url, stock=STOCK)
        await buy(api.url, STOCK)
        assert (await auditor.dump()).products[PRODUCT].stock == 0
        dump = await auditor.at_rest(10)
        product = dump.products[PRODUCT]
        assert (product.stock, product.held, product.sold) == (STOCK, 0, 0)
        assert dump.snapshot.orders[Status.EXPIRED] == STOCK
        await buy(api.url, STOCK, keys="again")
        dump = await auditor.at_rest(10)
        assert (dump.products[PRODUCT].stock, dump.snapshot.orders[Status.EXPIRED]) == (STOCK, 2 * STOCK)

        async def told() -> bool:
            return (await metric(api.url, "flash_sale_orders_total", "status"))["expired"] == 2 * STOCK

        await wait_until(told, 10, "the metrics say so")
