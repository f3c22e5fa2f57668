"""The routes of the catalogue, each with every answer that it may give."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import PRODUCT, Shop, open_shop, problem

CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "/inventory/lamp", PRODUCT),
    ("PATCH", "/inventory/lamp", {"stock": 3}),
    ("POST", "/inventory/lamp/restock", {"quantity": 3}),
]


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without products."""
    async with open_shop(valkey_server.url) as shop:
        yield shop


async def patch(shop: Shop, **fields: Any) -> Any:
    """Change some fields of the lamp and return the answer's body."""
    answer = await shop.client.patch("/inventory/lamp", json=fields, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_new_product_is_created_and_an_old_one_changed(shop: Shop) -> None:
    """201 and 200, the same body as a reading gives."""
    created = await shop.client.put("/inventory/lamp", json=PRODUCT, headers=ADMIN)
    changed = await shop.client.put("/inventory/lamp", json={**PRODUCT, "name": "Desk lamp"}, headers=ADMIN)
    assert (created.status_code, changed.status_code) == (201, 200)
    assert changed.json() == await shop.product()
    body = changed.json()
    assert body.pop("opens_at")
    assert body == {
        "product_id": "lamp",
        "name": "Desk lamp",
        "price": 4950,
        "currency": "EUR",
        "stock": 10,
        "held": 0,
        "sold": 0,
        "initial_stock": 10,
        "restocked": 0,
        "per_user_limit": None,
        "closes_at": None,
        "paused": False,
        "admission": "open",
    }


@pytest.mark.parametrize(("stock", "restocked"), [(25, 17), (0, -8), (8, 0)])
async def test_stock_put_on_a_product_is_booked_as_a_restock(shop: Shop, stock: int, restocked: int) -> None:
    """The units left to sell are what was put; what is held stays held; the books add up, below 0 or not."""
    await shop.put()
    await shop.order(quantity=2)
    body = await shop.put(stock=stock)
    figures = {name: body[name] for name in ("stock", "held", "initial_stock", "restocked")}
    assert figures == {"stock": stock, "held": 2, "initial_stock": 10, "restocked": restocked}
    drift = (await shop.client.get("/inventory/metrics")).json()["totals"]["drift"]
    assert drift == 0


async def test_put_without_the_optional_fields_takes_them_away(shop: Shop) -> None:
    """A PUT says everything: no limit and no closing time where none is given."""
    await shop.put(per_user_limit=3, closes_at="2100-01-01T00:00:00Z")
    body = await shop.put(per_user_limit=None)
    assert (body["per_user_limit"], body["closes_at"]) == (None, None)


async def test_patch_changes_what_it_names_and_nothing_else(shop: Shop) -> None:
    """A null takes a limit or a closing time away."""
    await shop.put(per_user_limit=3, closes_at="2100-01-01T00:00:00Z")
    before = await shop.product()
    assert await patch(shop, price=1) == {**before, "price": 1}
    assert await patch(shop, per_user_limit=None, name="L") == {
        **before,
        "price": 1,
        "per_user_limit": None,
        "name": "L",
    }
    assert (await patch(shop, stock=4))["restocked"] == -6
    assert (await patch(shop, closes_at=None))["closes_at"] is None
    assert (await patch(shop, opens_at="2030-01-01T00:00:00+01:00"))["opens_at"] == "2029-12-31T23:00:00Z"


async def test_a_restock_adds_units(shop: Shop) -> None:
    """They are left to sell at once."""
    await shop.put(stock=0)
    problem(await shop.order(), 409, "sold_out")
    answer = await shop.client.post("/inventory/lamp/restock", json={"quantity": 5}, headers=ADMIN)
    assert (answer.status_code, answer.json()["stock"], answer.json()["restocked"]) == (200, 5, 5)
    assert (await shop.order()).status_code == 202


@pytest.mark.parametrize(("method", "path", "body"), CHANGES[1:])
async def test_what_does_not_exist_cannot_be_changed(shop: Shop, method: str, path: str, body: dict[str, Any]) -> None:
    """404; only PUT creates."""
    problem(await shop.client.request(method, path, json=body, headers=ADMIN), 404, "unknown_product")


async def test_a_sale_cannot_close_before_it_opens(shop: Shop) -> None:
    """Neither by PUT nor by a PATCH of one end; the product stays as it was."""
    window = {"opens_at": "2030-01-02T00:00:00Z", "closes_at": "2030-01-01T00:00:00Z"}
    answer = await shop.client.put("/inventory/lamp", json={**PRODUCT, **window}, headers=ADMIN)
    problem(answer, 422, "invalid")
    problem(await shop.client.get("/inventory/lamp"), 404, "unknown_product")
    before = await shop.put(opens_at="2030-01-02T00:00:00Z")
    answer = await shop.client.patch("/inventory/lamp", json={"closes_at": window["closes_at"]}, headers=ADMIN)
    problem(answer, 422, "invalid")
    assert await shop.product() == before


TOKENS = (None, "Bearer wrong", "Bearer", "Basic dTpw", f"{ADMIN['Authorization'][:-1]}", "Bearer é")


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_without_the_token_nothing_is_changed(shop: Shop, method: str, path: str, body: dict[str, Any]) -> None:
    """401 with a challenge, for no token and for any other."""
    before = await shop.put()
    for token in TOKENS:
        headers = [(b"Authorization", token.encode())] if token is not None else []
        answer = await shop.client.request(method, path, json=body, headers=headers)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == 'Bearer realm="flash-sale"'
    assert await shop.product() == before


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_where_no_token_is_set_the_admin_routes_are_off(
    valkey_server: RedisServer, method: str, path: str, body: dict[str, Any]
) -> None:
    """403, whatever is shown."""
    async with open_shop(valkey_server.url, admin_token=None) as shop:
        for headers in ({}, ADMIN, {"Authorization": "Bearer None"}):
            answer = await shop.client.request(method, path, json=body, headers=headers)
            problem(answer, 403, "admin_disabled")


async def test_reading_needs_no_token(shop: Shop) -> None:
    """All products by id, one of them, and the figures of all."""
    await shop.put("b", stock=1)
    await shop.put("a", stock=2)
    listed = (await shop.client.get("/inventory")).json()["products"]
    assert listed == [await shop.product("a"), await shop.product("b")]
    problem(await shop.client.get("/inventory/c"), 404, "unknown_product")
    figures = (await shop.client.get("/inventory/metrics")).json()
    assert [row["product_id"] for row in figures["products"]] == ["a", "b"]
    assert figures["totals"] == {"initial_stock": 3, "restocked": 0, "stock": 3, "held": 0, "sold": 0, "drift": 0}


async def test_the_largest_stock_and_price_are_kept_exactly(shop: Shop) -> None:
    """A billion units at a trillion: the store computes in integers."""
    body = await shop.put(stock=1_000_000_000, price=10**12)
    assert (body["stock"], body["price"]) == (1_000_000_000, 10**12)
    order = (await shop.order(quantity=1000)).json()
    assert order["unit_price"] == 10**12
    assert (await shop.product())["stock"] == 999_999_000
