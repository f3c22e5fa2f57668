"""Admin writes that are safe to send again, that say how many units there are in all, and know what they change."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.ledger.catalogue import Change
from service.ledger.once_only import OnceOnly
from tests.orders.sale import LONG, Sale
from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import PRODUCT, Shop, open_shop, problem

NAMED = {name: value for name, value in PRODUCT.items() if name != "stock"}
WRITES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("POST", "/inventory/lamp/restock", {"quantity": 3}, {"quantity": 4}),
    ("PATCH", "/inventory/lamp", {"stock": 3}, {"stock": 3, "price": 1}),
    ("PUT", "/inventory/lamp", PRODUCT, {**PRODUCT, "price": 1}),
    ("PUT", "/inventory/lamp", {**NAMED, "total_stock": 30}, {**NAMED, "total_stock": 31}),
    ("PUT", "/inventory/new", PRODUCT, {**PRODUCT, "currency": "USD"}),
]


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API with ten lamps, of which one is held."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        assert (await shop.order()).status_code == httpx.codes.ACCEPTED
        yield shop


async def write(shop: Shop, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    """Send an admin write; `Idempotency_Key="k"` is the header `Idempotency-Key`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await shop.client.request(method, path, json=body, headers={**ADMIN, **named})


@pytest.mark.parametrize(("method", "path", "body", "other"), WRITES)
async def test_a_write_sent_again_under_its_key_gets_its_first_answer(
    shop: Shop, method: str, path: str, body: dict[str, Any], other: dict[str, Any]
) -> None:
    """Whatever was sold and changed since; another body under the key changes nothing."""
    first = await write(shop, method, path, body, Idempotency_Key="k")
    assert first.is_success
    assert "idempotency-replayed" not in first.headers
    await shop.order()
    await write(shop, "POST", "/inventory/lamp/restock", {"quantity": 1})
    before = (await shop.client.get("/inventory")).json()
    again = await write(shop, method, path, body, Idempotency_Key="k")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (again.headers["idempotency-replayed"], again.headers["etag"]) == ("true", first.headers["etag"])
    problem(await write(shop, method, path, other, Idempotency_Key="k"), 422, "idempotency_conflict")
    assert (await shop.client.get("/inventory")).json() == before


async def test_a_key_belongs_to_one_request_of_all_admin_writes(shop: Shop) -> None:
    """Units for another product, another route and a clearing are other requests; a shopper's keys are apart."""
    assert (await write(shop, "POST", "/inventory/lamp/restock", {"quantity": 3}, Idempotency_Key="k")).is_success
    await shop.put("desk")
    for method, path, body in (
        ("POST", "/inventory/desk/restock", {"quantity": 3}),
        ("PATCH", "/inventory/lamp", {"price": 3}),
        ("POST", "/monitoring/metrics/clear", None),
    ):
        problem(await write(shop, method, path, body, Idempotency_Key="k"), 422, "idempotency_conflict")
    assert (await shop.order("k")).status_code == httpx.codes.ACCEPTED
    assert (await shop.product("desk"))["stock"] == PRODUCT["stock"]


async def test_a_key_of_a_write_that_was_refused_is_free(shop: Shop) -> None:
    """Nothing was changed, so there is nothing to repeat."""
    assert (
        await write(shop, "POST", "/inventory/vase/restock", {"quantity": 3}, Idempotency_Key="k")
    ).status_code == 404
    await shop.put("vase")
    assert (await write(shop, "POST", "/inventory/vase/restock", {"quantity": 3}, Idempotency_Key="k")).is_success


async def test_many_at_once_under_one_key_add_once(shop: Shop) -> None:
    """All get the answer of the one that was first."""
    answers = await asyncio.gather(
        *(write(shop, "POST", "/inventory/lamp/restock", {"quantity": 5}, Idempotency_Key="k") for _ in range(20))
    )
    assert {answer.content for answer in answers} == {answers[0].content}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 19
    assert (await shop.product())["restocked"] == 5


async def test_a_key_lasts_as_long_as_it_is_set_to(valkey_server: RedisServer) -> None:
    """Like the keys of orders, and its memory goes with it."""
    async with open_shop(valkey_server.url, idempotency_ttl_seconds=1) as shop:
        await shop.put()
        await write(shop, "POST", "/inventory/lamp/restock", {"quantity": 5}, Idempotency_Key="k")
        async with asyncio.timeout(10):
            while (await shop.product())["restocked"] != 10:
                await write(shop, "POST", "/inventory/lamp/restock", {"quantity": 5}, Idempotency_Key="k")


@pytest.mark.parametrize("key", ["", "x" * 256, "a b"])
async def test_a_key_is_visible_ascii(shop: Shop, key: str) -> None:
    answer = await write(shop, "POST", "/inventory/lamp/restock", {"quantity": 5}, Idempotency_Key=key)
    problem(answer, 422, "invalid")


async def test_the_figures_are_cleared_once_under_a_key(shop: Shop) -> None:
    """What came after the first time stays."""

    async def requests() -> int:
        count: int = (await shop.client.get("/monitoring/benchmark")).json()["requests"]
        return count

    first = await write(shop, "POST", "/monitoring/metrics/clear", Idempotency_Key="k")
    assert (first.json(), "idempotency-replayed" in first.headers) == ({"status": "cleared"}, False)
    async with asyncio.timeout(15):
        while not await requests():
            await shop.service.windows.flush()
    again = await write(shop, "POST", "/monitoring/metrics/clear", Idempotency_Key="k")
    assert (again.json(), again.headers["idempotency-replayed"]) == ({"status": "cleared"}, "true")
    assert await requests()


async def test_total_stock_is_the_units_on_sale_in_all(shop: Shop) -> None:
    """Put again it changes nothing, whatever was sold meanwhile; the difference to before is booked."""
    for total, restocked in ((10, 0), (10, 0), (25, 15), (1, -9), (25, 15)):
        answer = await write(shop, "PUT", "/inventory/lamp", {**NAMED, "total_stock": total})
        body = answer.json()
        assert (answer.status_code, body["restocked"], body["initial_stock"]) == (200, restocked, 10)
        assert body["stock"] + body["held"] + body["sold"] == total
    created = await write(shop, "PUT", "/inventory/vase", {**NAMED, "total_stock": 4})
    assert (created.status_code, created.json()["initial_stock"], created.json()["stock"]) == (201, 4, 4)
    patched = await write(shop, "PATCH", "/inventory/vase", {"total_stock": 6})
    assert (patched.json()["stock"], patched.json()["restocked"], patched.json()["price"]) == (6, 2, PRODUCT["price"])


@pytest.mark.parametrize(("method", "fields"), [("PUT", {**NAMED}), ("PATCH", {"price": 1})])
async def test_there_cannot_be_fewer_units_in_all_than_are_held_and_sold(
    shop: Shop, method: str, fields: dict[str, Any]
) -> None:
    """And nothing else of the request is done."""
    before = await shop.product()
    answer = await write(shop, method, "/inventory/lamp", {**fields, "total_stock": 0})
    problem(answer, 409, "stock_below_sold")
    problem(await write(shop, method, "/inventory/lamp", {**fields, "total_stock": 1, "stock": 1}), 422, "invalid")
    assert await shop.product() == before


@pytest.mark.parametrize("value", [-1, 10**9 + 1, 1.0, "1", None, False])
async def test_total_stock_is_a_whole_number(shop: Shop, value: Any) -> None:
    for method, fields in (("PUT", NAMED), ("PATCH", {})):
        answer = await write(shop, method, "/inventory/lamp", {**fields, "total_stock": value})
        errors = problem(answer, 422, "invalid")["errors"]
        assert [error["pointer"] for error in errors] == ["#/total_stock"]


async def test_a_product_that_changed_meanwhile_is_not_changed(shop: Shop) -> None:
    """Of two merchants who read the same the second is told, by every route; what shoppers do is no such change."""
    tag = (await shop.client.get("/inventory/lamp")).headers["etag"]
    await shop.order()
    assert (await shop.client.get("/inventory/lamp")).headers["etag"] == tag
    first = await write(shop, "PATCH", "/inventory/lamp", {"price": 1}, If_Match=tag)
    assert (first.status_code, first.headers["etag"] != tag) == (200, True)
    before = await shop.product()
    for method, path, body, _ in WRITES[:4]:
        problem(await write(shop, method, path, body, If_Match=tag), 412, "changed_meanwhile")
    assert await shop.product() == before
    for header in ("*", first.headers["etag"], f'"x", W/"y",{first.headers["etag"]}'):
        assert (await write(shop, "PATCH", "/inventory/lamp", {"price": 1}, If_Match=header)).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"name": "L"},
        {"price": 7},
        {"currency": "USD"},
        {"total_stock": 77},
        {"stock": 3},
        {"per_user_limit": 4},
        {"opens_at": "2030-01-01T00:00:00Z"},
        {"closes_at": "2100-01-01T00:00:00.123Z"},
        {"name": "Lämpchen\u2028"},
    ],
)
async def test_whatever_may_be_set_changes_the_tag(shop: Shop, change: dict[str, Any]) -> None:
    """The tag that is told is the one that the ledger compares with."""
    before = (await shop.client.get("/inventory/lamp")).headers["etag"]
    changed = await write(shop, "PATCH", "/inventory/lamp", change, If_Match=before)
    assert changed.headers["etag"] not in (before, "")
    read = (await shop.client.get("/inventory/lamp")).headers["etag"]
    assert (await write(shop, "PATCH", "/inventory/lamp", change, If_Match=read)).status_code == 200
    assert read == changed.headers["etag"]


async def test_if_match_of_nothing_and_of_no_tag(shop: Shop) -> None:
    """What is not there matches nothing, a weak tag does not either, and what is no tag is not valid."""
    for header in ("*", '"x"'):
        problem(await write(shop, "PUT", "/inventory/vase", PRODUCT, If_Match=header), 412, "changed_meanwhile")
    weak = f"W/{(await shop.client.get('/inventory/lamp')).headers['etag']}"
    problem(await write(shop, "PATCH", "/inventory/lamp", {"price": 1}, If_Match=weak), 412, "changed_meanwhile")
    for header in ("x", '"x', "", '"x" "y"'):
        problem(await write(shop, "PATCH", "/inventory/lamp", {"price": 1}, If_Match=header), 422, "invalid")
    problem(await write(shop, "PATCH", "/inventory/vase", {"price": 1}, If_Match='"x"'), 404, "unknown_product")


async def test_a_write_sent_again_is_no_change_to_itself(shop: Shop) -> None:
    """The answer was lost, the tag is old by the write's own doing: the key tells."""
    tag = (await shop.client.get("/inventory/lamp")).headers["etag"]
    headers = {"If_Match": tag, "Idempotency_Key": "k"}
    first = await write(shop, "PATCH", "/inventory/lamp", {"price": 1}, **headers)
    again = await write(shop, "PATCH", "/inventory/lamp", {"price": 1}, **headers)
    assert (again.status_code, again.content) == (200, first.content)


async def test_the_document_promises_no_value_for_what_a_patch_leaves_out(shop: Shop) -> None:
    """A client that is generated from it would send them: a price and a stock of 0."""
    schemas = (await shop.client.get("/openapi.json")).json()["components"]["schemas"]
    for name, field in schemas["ProductPatch"]["properties"].items():
        assert "default" not in field, name
    assert "required" not in schemas["ProductPatch"]
    assert schemas["ProductPut"]["required"] == ["name", "price", "currency"]
    for schema in ("ProductPut", "ProductPatch"):
        properties = schemas[schema]["properties"]
        assert properties["stock"]["deprecated"]
        assert not {"default"} & (properties["stock"].keys() | properties["total_stock"].keys())


async def test_a_key_is_one_request_in_all_shards(valkey_server: RedisServer) -> None:
    """Of two products in two shards the first has the key; its request may be sent again, the other is refused."""
    async with open_shop(valkey_server.url, store_shards=4) as shop:
        names = [f"product-{number}" for number in range(8)]
        for name in names:
            await shop.put(name)
        for number, (name, other) in enumerate(zip(names, names[1:] + names[:1], strict=True)):
            key = f"key-{number}"
            for replayed in (False, True):
                answer = await write(shop, "POST", f"/inventory/{name}/restock", {"quantity": 2}, Idempotency_Key=key)
                assert (answer.status_code, "idempotency-replayed" in answer.headers) == (200, replayed)
            answer = await write(shop, "POST", f"/inventory/{other}/restock", {"quantity": 2}, Idempotency_Key=key)
            problem(answer, 422, "idempotency_conflict")
        assert {(await shop.product(name))["restocked"] for name in names} == {2}


async def test_a_step_that_the_store_s_client_sends_twice_is_no_replay(sale: Sale) -> None:
    """The reply to the first was lost on the way, and the caller has asked once."""
    await sale.product(stock=10)
    args = ("digest", 60_000, "f", "phone", "restock", "", "call-1", "units", 5)
    assert [(await sale.shards.run("stock", 0, *args))[2] for _ in range(2)] == [0, 0]
    once = OnceOnly("digest", "f", LONG)
    changed = await sale.catalogue.change("restock", "phone", {"units": 5}, once=once)
    assert (changed.change, changed.replayed, await sale.units()) == (Change.CHANGED, True, (15, 0, 0))
