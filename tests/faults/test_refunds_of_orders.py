"""Refunds of confirmed orders through deaths: each is booked once and paid out once, whoever dies in between."""

import httpx

from tests.faults.conftest import Paid
from tests.faults.kit import PRODUCT, Auditor, put_product, sale
from tests.support import RedisServer, wait_until
from tests.support.service import ADMIN

ORDERS = 6


async def confirmed_orders(client: httpx.AsyncClient) -> list[str]:
    """Buy two units so many times, and wait until all are paid."""
    body = {"product_id": PRODUCT, "user_id": "ada", "quantity": 2}
    placed = [(await client.post("/orders", json=body)).json()["order_id"] for _ in range(ORDERS)]

    async def paid() -> bool:
        listed = await client.get("/orders", params={"status": "confirmed"}, headers=ADMIN)
        return len(listed.json()["orders"]) == ORDERS

    await wait_until(paid, 30, "all are paid")
    return placed


async def test_a_refund_is_paid_out_once_whoever_dies(durable: RedisServer, paid: Paid, auditor: Auditor) -> None:
    """A bank that is down, then a worker that is killed; each request is sent twice with its key."""
    bank, env = paid
    async with sale(durable.url, env=env) as (api, worker), httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        await put_product(api.url, stock=100)
        orders = await confirmed_orders(client)
        bank.down = True
        for order_id in orders:
            for key, body in (("a", {"quantity": 1}), ("a", {"quantity": 1}), ("b", {"return_to_stock": False})):
                headers = {**ADMIN, "Idempotency-Key": f"{order_id}-{key}"}
                answer = await client.post(f"/orders/{order_id}/refund", json=body, headers=headers)
                assert answer.status_code == 200, answer.text
        worker.kill("order-0")
        bank.down = False
        await wait_until(auditor.no_refund_owed, 60, "all is given back")
        price = next(iter(bank.captured.values()))["amount"] // 2
        assert bank.parts == {f"refund-{order_id}.{part}": price for order_id in orders for part in (1, 2)}
        assert not bank.refunded, "nothing was given back as a whole"
        dump = await auditor.dump()
        assert {str(order.status) for order in dump.orders.values()} == {"refunded"}
        assert (dump.products[PRODUCT].stock, dump.products[PRODUCT].sold) == (100 - ORDERS, ORDERS)
