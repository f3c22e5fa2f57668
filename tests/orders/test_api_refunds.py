"""A confirmed order is refunded, whole or in part: its units, its limit, the money that is owed, and every refusal."""

from collections.abc import AsyncIterator

import pytest

from service.ledger.audit import dump_ledger, violations
from tests.orders.sale import LONG, Sale
from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop, problem


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without order workers, with ten lamps on sale, three to a user."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put(per_user_limit=3)
        yield shop


async def bought(shop: Shop, quantity: int = 3) -> str:
    """Buy lamps, which are paid; return where the order is."""
    path: str = (await shop.order(quantity=quantity)).headers["location"]
    sale = Sale(shop.service.shards)
    await sale.take()
    order = await sale.ledger.order(path.rpartition("/")[2])
    assert order is not None
    await sale.settle(order, payment_id="p-1")
    return path


async def units(shop: Shop) -> tuple[int, int, int]:
    """Return how many lamps are left, held and sold; the books must be in order."""
    assert violations(await dump_ledger(shop.service.shards)) == []
    product = await shop.product()
    return product["stock"], product["held"], product["sold"]


async def owed(shop: Shop) -> list[tuple[int, int]]:
    """Return number and amount of each refund that a worker would make now."""
    found = await Sale(shop.service.shards).ledger.refunds(0, LONG, 10)
    return sorted((one.part, one.amount) for one in found)


async def test_a_part_and_then_the_rest(shop: Shop) -> None:
    """The order stays confirmed until all of it is refunded; units that return can be bought by the same user again."""
    path = await bought(shop)
    part = await shop.client.post(f"{path}/refund", json={"quantity": 1, "reason": "one was broken"}, headers=ADMIN)
    body = part.json()
    assert (part.status_code, body["status"], body["refunded_quantity"]) == (200, "confirmed", 1)
    assert body["reason"] == "one was broken"
    assert await units(shop) == (8, 0, 2)
    assert (await shop.order()).status_code == 202, "one unit counts no more against the limit"
    rest = await shop.client.post(f"{path}/refund", json={"return_to_stock": False}, headers=ADMIN)
    assert (rest.json()["status"], rest.json()["refunded_quantity"]) == ("refunded", 3)
    assert await units(shop) == (7, 1, 2), "what does not return stays sold"
    assert await owed(shop) == [(1, 4950), (2, 9900)]
    refunded = await shop.client.get("/orders", params={"status": "refunded"}, headers=ADMIN)
    assert [order["order_id"] for order in refunded.json()["orders"]] == [path.rpartition("/")[2]]
    snapshot = await shop.service.poller.fresh()
    assert {str(status): n for status, n in snapshot.orders.items() if n} == {
        "pending": 2,
        "confirmed": 1,
        "refunded": 1,
    }


async def test_a_refund_is_made_once_under_its_key(shop: Shop) -> None:
    """The same request again gets the first answer, whatever happened since; another one under its key is refused."""
    path = await bought(shop)
    headers = {**ADMIN, "Idempotency-Key": "r-1"}
    first = await shop.client.post(f"{path}/refund", json={"quantity": 1}, headers=headers)
    await shop.client.post(f"{path}/refund", json={"quantity": 1}, headers=ADMIN)
    again = await shop.client.post(f"{path}/refund", json={"quantity": 1}, headers=headers)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    other = await shop.client.post(f"{path}/refund", json={"quantity": 2}, headers=headers)
    problem(other, 422, "idempotency_conflict")
    assert await units(shop) == (9, 0, 1)


async def test_what_cannot_be_refunded_is_refused(shop: Shop) -> None:
    """An order that is not confirmed, more units than are left, one that is not there; and nothing is changed by it."""
    pending = (await shop.order(quantity=1)).headers["location"]
    problem(await shop.client.post(f"{pending}/refund", json={}, headers=ADMIN), 409, "not_refundable")
    await shop.client.post(f"{pending}/cancel")
    path = await bought(shop, 2)
    for body, status, code in (
        ({"quantity": 3}, 409, "not_refundable"),
        ({"quantity": 0}, 422, "invalid"),
        ({"quantity": -1}, 422, "invalid"),
        ({"return_to_stock": "yes"}, 422, "invalid"),
        ({"reason": "x" * 129}, 422, "invalid"),
        ({"amount": 1}, 422, "invalid"),
    ):
        problem(await shop.client.post(f"{path}/refund", json=body, headers=ADMIN), status, code)
    problem(await shop.client.post(f"/orders/00{'f' * 28}/refund", json={}, headers=ADMIN), 404, "unknown_order")
    problem(await shop.client.post(f"{path}/refund", json={}), 401, "unauthorized")
    assert await units(shop) == (8, 0, 2)
    assert await owed(shop) == []
    await shop.client.post(f"{path}/refund", json={}, headers=ADMIN)
    problem(await shop.client.post(f"{path}/refund", json={}, headers=ADMIN), 409, "not_refundable")
    assert await owed(shop) == [(1, 9900)]


async def test_a_late_receipt_of_a_refunded_order_is_not_given_back_once_more(shop: Shop) -> None:
    """A worker that lost the answer to its settlement tells it again."""
    path = await bought(shop)
    await shop.client.post(f"{path}/refund", json={}, headers=ADMIN)
    sale = Sale(shop.service.shards)
    order = await sale.ledger.order(path.rpartition("/")[2])
    assert order is not None
    assert (await sale.settle(order, generation=0)).result == "repeated"
    assert await owed(shop) == [(1, 3 * 4950)]
