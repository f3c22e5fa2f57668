"""A sale that is paused and resumed, and a product that is archived: at once, everywhere, and with nothing lost."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import httpx
import pytest

from service.ledger.audit import dump_ledger, violations
from service.ledger.catalogue import Change
from service.ledger.orders import Outcome, Status
from service.ledger.products import SaleState
from tests.orders.sale import LONG, Sale
from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import PRODUCT, Shop, open_shop, problem
from tests.support.waiting import wait_until

EARLIER, LATER = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API with ten lamps."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop
        assert violations(await dump_ledger(shop.service.shards)) == []


async def patch(shop: Shop, **fields: Any) -> httpx.Response:
    """Change some fields of the lamp."""
    return await shop.client.patch("/inventory/lamp", json=fields, headers=ADMIN)


async def archive(shop: Shop, product_id: str = "lamp", **headers: str) -> httpx.Response:
    """Archive a product."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await shop.client.delete(f"/inventory/{product_id}", headers={**ADMIN, **named})


async def test_a_paused_sale_refuses_and_a_resumed_one_sells(shop: Shop) -> None:
    """The refusal is counted with its reason; what was ordered before goes on, and can be asked for again."""
    first = await shop.order("k")
    paused = await patch(shop, paused=True)
    assert (paused.status_code, paused.json()["paused"], paused.json()["stock"]) == (200, True, 9)
    problem(await shop.order(), 409, "sale_paused")
    assert (await shop.order("k")).json() == first.json()
    assert await shop.rejections(reason="sale_paused") == 1
    assert (await shop.client.get("/inventory")).json()["products"][0]["paused"] is True
    assert (await patch(shop, price=1)).json()["paused"] is True
    assert (await shop.put(stock=3))["paused"] is True, "to put it again is no decision to sell"
    assert (await patch(shop, paused=False)).json()["paused"] is False
    assert (await shop.order()).status_code == 202


@pytest.mark.parametrize("value", [1, "true", None, "paused"])
async def test_paused_is_true_or_false(shop: Shop, value: Any) -> None:
    assert [error["pointer"] for error in problem(await patch(shop, paused=value), 422, "invalid")["errors"]] == [
        "#/paused"
    ]


async def test_a_sale_that_is_sold_out_is_paused_everywhere_within_a_second(shop: Shop) -> None:
    """Another process remembers that nothing is left, and is not told of the pause."""
    assert (await shop.order(quantity=10)).status_code == 202
    problem(await shop.order(), 409, "sold_out")
    assert "lamp" in shop.service.sold_out
    elsewhere = Sale(shop.service.shards)
    await elsewhere.catalogue.patch("lamp", halted="paused")
    since = monotonic()

    async def paused() -> bool:
        return bool((await shop.order()).json()["code"] == "sale_paused")

    await wait_until(paused, 15, "the sale is paused")
    assert monotonic() - since < 2
    assert "lamp" not in shop.service.sold_out
    await elsewhere.catalogue.patch("lamp", halted="")
    problem(await shop.order(), 409, "sold_out")


async def test_an_archived_product_is_no_longer_offered_and_its_orders_stay(shop: Shop) -> None:
    """Not while units of it are held; then it is as good as none, for shoppers and for the merchant."""
    order = (await shop.order("k")).json()
    problem(await archive(shop), 409, "has_open_orders")
    assert (await shop.order()).status_code == 202
    assert (await shop.client.post(f"/orders/{order['order_id']}/cancel")).status_code == 200
    sale = Sale(shop.service.shards)
    (begun,) = await sale.take()
    assert begun.order is not None
    await sale.settle(begun.order)
    answer = await archive(shop)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await shop.client.get("/inventory")).json()["products"] == []
    problem(await shop.order(), 404, "unknown_product")
    assert (await shop.order("k")).status_code == 200
    for method, path, body in (
        ("GET", "/inventory/lamp", None),
        ("PATCH", "/inventory/lamp", {"paused": False}),
        ("POST", "/inventory/lamp/restock", {"quantity": 1}),
        ("DELETE", "/inventory/lamp", None),
    ):
        problem(await shop.client.request(method, path, json=body, headers=ADMIN), 404, "unknown_product")
    assert len((await shop.client.get("/orders?product_id=lamp", headers=ADMIN)).json()["orders"]) == 2
    refund = await shop.client.post(f"/orders/{begun.order.order_id}/refund", json={}, headers=ADMIN)
    assert (refund.status_code, refund.json()["status"]) == (200, "refunded")
    assert (await shop.client.get("/inventory/metrics")).json()["totals"]["stock"] == 10


async def test_a_product_that_was_archived_can_be_put_anew(shop: Shop) -> None:
    """With the units that its books have; a pause ended with the old offer."""
    await patch(shop, paused=True)
    await archive(shop)
    named = {name: value for name, value in PRODUCT.items() if name != "stock"}
    headers = {**ADMIN, "If-Match": "*"}
    answer = await shop.client.put("/inventory/lamp", json={**named, "total_stock": 12}, headers=headers)
    problem(answer, 412, "changed_meanwhile")
    answer = await shop.client.put("/inventory/lamp", json={**named, "total_stock": 12}, headers=ADMIN)
    body = answer.json()
    assert (answer.status_code, body["paused"]) == (201, False)
    assert (body["initial_stock"], body["restocked"], body["stock"]) == (10, 2, 12)
    assert (await shop.order()).status_code == 202


async def test_archiving_may_be_sent_again_and_knows_what_it_changes(shop: Shop) -> None:
    """As every admin write: under its key it gets its first answer, and an old tag changes nothing."""
    tag = (await shop.client.get("/inventory/lamp")).headers["etag"]
    assert (await patch(shop, paused=True)).headers["etag"] != tag
    problem(await archive(shop, If_Match=tag), 412, "changed_meanwhile")
    assert (await archive(shop, Idempotency_Key="k")).status_code == 204
    again = await archive(shop, Idempotency_Key="k")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (204, "true")
    problem(await archive(shop, "desk", Idempotency_Key="k"), 422, "idempotency_conflict")
    problem(await shop.client.delete("/inventory/lamp"), 401, "unauthorized")


async def test_a_product_of_an_older_store_is_neither_paused_nor_archived(sale: Sale) -> None:
    """It has no such field."""
    await sale.product()
    await sale.shards.client.hdel("{fs:00}:product:phone", "halted")
    product = await sale.catalogue.product("phone")
    assert product is not None
    assert (product.halted, product.is_paused, product.is_archived) == ("", False, False)
    assert await sale.try_buy() is Outcome.ACCEPTED
    assert (await sale.catalogue.change("patch", "phone", {"price": 1}, match=product.revision)).product is not None


@pytest.mark.parametrize(
    ("terms", "halted", "state", "outcome"),
    [
        ({}, "", SaleState.OPEN, Outcome.ACCEPTED),
        ({"stock": 0}, "", SaleState.SOLD_OUT, Outcome.SOLD_OUT),
        ({"stock": 0}, "paused", SaleState.PAUSED, Outcome.SALE_PAUSED),
        ({"opens": LATER}, "paused", SaleState.NOT_OPEN, Outcome.SALE_NOT_OPEN),
        ({"opens": EARLIER - timedelta(hours=1), "closes": EARLIER}, "paused", SaleState.CLOSED, Outcome.SALE_CLOSED),
        ({"closes": LATER}, "", SaleState.OPEN, Outcome.ACCEPTED),
    ],
)
async def test_the_state_that_is_shown_is_the_reason_for_a_refusal(
    sale: Sale, terms: dict[str, Any], halted: str, state: SaleState, outcome: Outcome
) -> None:
    await sale.product(**terms)
    await sale.catalogue.patch("phone", halted=halted)
    snapshot = await sale.snapshot()
    assert snapshot.products[0].state(snapshot.taken_at) is state
    assert await sale.try_buy() is outcome


async def test_a_dead_letter_of_an_archived_product_may_still_be_requeued(sale: Sale) -> None:
    """Its order stays, and whoever decides on it is a person."""
    await sale.product()
    dead = await sale.dead_letter()
    assert (await sale.catalogue.archive("phone"))[0] is Change.CHANGED
    snapshot = await sale.snapshot()
    assert snapshot.products[0].state(snapshot.taken_at) is SaleState.ARCHIVED
    await sale.dead_letters.requeue([dead.order_id], LONG)
    assert await sale.status(dead) is Status.PENDING
