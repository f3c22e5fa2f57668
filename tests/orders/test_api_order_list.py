"""Orders for the operator: listed, read and cancelled with the admin token, and exported however many there are."""

import asyncio
import csv
import io
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import httpx
import jwt
import pytest

from service.ledger.audit import dump_ledger
from service.ledger.orders import NewOrder, new_order_id
from tests.conftest import MakeServer
from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop, problem

SIGNED_WITH = "a secret of thirty-two characters or more"
MANY = 20_000


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without order workers, with ten lamps on sale."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop


@pytest.fixture
async def guarded(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield one where shoppers show tokens."""
    async with open_shop(valkey_server.url, auth_jwt={"secret": SIGNED_WITH}) as shop:
        await shop.put()
        yield shop


def bearer(subject: str) -> dict[str, str]:
    """Return a shopper's header."""
    return {"Authorization": f"Bearer {jwt.encode({'sub': subject, 'exp': int(time.time()) + 600}, SIGNED_WITH)}"}


async def listed(shop: Shop, **query: Any) -> list[str]:
    """List with the admin token, page by page."""
    found: list[str] = []
    while True:
        answer = await shop.client.get("/orders", params=query, headers=ADMIN)
        assert answer.status_code == 200, answer.text
        found += [order["order_id"] for order in answer.json()["orders"]]
        query["cursor"] = answer.json()["next_cursor"]
        if query["cursor"] is None:
            return found


async def place_many(shop: Shop, count: int) -> None:
    """Place so many orders without the API, each of another user."""
    await shop.put("flood", stock=count)
    for start in range(0, count, 250):
        batch = [
            NewOrder(order_id=new_order_id(0), product_id="flood", user_id=f"user-{number}", quantity=1)
            for number in range(start, start + 250)
        ]
        await shop.service.ledger.place(0, batch)


async def test_the_admin_lists_all_orders_newest_first(shop: Shop) -> None:
    """Whose they are, and by product, status, user and time."""
    await shop.put("desk")
    ids = []
    for user, product in (("ada", "lamp"), ("eve", "lamp"), ("eve", "desk")):
        ids.append((await shop.order(user_id=user, product_id=product)).json()["order_id"])
        await asyncio.sleep(0.002)
    await shop.client.post(f"/orders/{ids[1]}/cancel")
    accepted = [(await shop.client.get(f"/orders/{order_id}")).json()["accepted_at"] for order_id in ids]
    assert await listed(shop) == ids[::-1]
    assert await listed(shop, limit=1) == ids[::-1]
    assert await listed(shop, product_id="lamp") == [ids[1], ids[0]]
    assert await listed(shop, user_id="eve") == [ids[2], ids[1]]
    assert await listed(shop, status="cancelled") == [ids[1]]
    assert await listed(shop, status=["pending", "failed"]) == [ids[2], ids[0]]
    assert await listed(shop, accepted_after=accepted[1]) == [ids[2], ids[1]]
    assert await listed(shop, accepted_before=accepted[1]) == [ids[0]]
    assert await listed(shop, accepted_after=accepted[1], accepted_before=accepted[2]) == [ids[1]]
    whole = await shop.client.get("/orders", headers=ADMIN)
    shown = (await shop.client.get(f"/orders/{ids[2]}")).json()
    waits = {"queue_position", "estimated_wait_seconds"}  # while it waits, as of that moment
    for order in (first := whole.json()["orders"][0], shown):
        assert order.keys() | waits == first.keys() | waits
    assert {k: first[k] for k in first.keys() - waits} == {k: shown[k] for k in shown.keys() - waits}


async def test_a_shopper_filters_their_own_orders(shop: Shop) -> None:
    """The same filters; no more than a hundred at a time."""
    await shop.put("desk")
    await shop.order()
    desk = (await shop.order(product_id="desk")).json()["order_id"]
    await shop.order(user_id="eve", product_id="desk")
    answer = await shop.client.get("/orders", params={"user_id": "ada", "product_id": "desk"})
    assert [order["order_id"] for order in answer.json()["orders"]] == [desk]
    problem(await shop.client.get("/orders", params={"user_id": "ada", "limit": 101}), 422, "invalid")
    assert (await shop.client.get("/orders", params={"limit": 1000}, headers=ADMIN)).status_code == 200
    problem(await shop.client.get("/orders", params={"limit": 1001}, headers=ADMIN), 422, "invalid")


@pytest.mark.parametrize("query", ["status=lost", "accepted_after=yesterday", "accepted_before=5", "product_id=%00"])
@pytest.mark.parametrize("path", ["/orders", "/orders/export"])
async def test_a_filter_that_makes_no_sense_is_refused(shop: Shop, path: str, query: str) -> None:
    """422 with the name of the filter."""
    answer = problem(await shop.client.get(f"{path}?{query}", headers=ADMIN), 422, "invalid")
    assert answer["errors"][0]["pointer"].startswith(f"#/{query.partition('=')[0]}")


async def test_who_is_not_the_admin_sees_no_list_of_all(shop: Shop) -> None:
    """Neither with a wrong token nor with none."""
    await shop.order()
    wrong = {"Authorization": "Bearer wrong"}
    problem(await shop.client.get("/orders"), 422, "invalid")
    problem(await shop.client.get("/orders", headers=wrong), 422, "invalid")
    problem(await shop.client.get("/orders/export"), 401, "unauthorized")
    problem(await shop.client.get("/orders/export", headers=wrong), 401, "unauthorized")


async def test_with_tokens_the_admin_sees_and_cancels_what_a_stranger_cannot(guarded: Shop) -> None:
    """The admin token is none of a shopper, and a shopper's none of the admin."""
    body = {"product_id": "lamp", "quantity": 1}
    placed = await guarded.client.post("/orders", json=body, headers=bearer("ada"))
    path = placed.headers["location"]
    assert (await guarded.client.get(path, headers=ADMIN)).json()["user_id"] == "ada"
    problem(await guarded.client.get(path, headers=bearer("eve")), 404, "unknown_order")
    problem(await guarded.client.post(f"{path}/cancel", headers=bearer("eve")), 404, "unknown_order")
    problem(await guarded.client.get(path), 401, "unauthorized")
    problem(await guarded.client.get("/orders"), 401, "unauthorized")
    assert (await guarded.client.get("/orders", params={"user_id": "ada"}, headers=bearer("eve"))).json()[
        "orders"
    ] == []
    problem(await guarded.client.get("/orders/export", headers=bearer("ada")), 401, "unauthorized")
    assert len(await listed(guarded)) == 1
    problem(await guarded.client.post("/orders", json=body, headers=ADMIN), 401, "unauthorized")
    cancelled = await guarded.client.post(f"{path}/cancel", headers=ADMIN)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")


async def test_what_the_admin_cancels_is_not_held_against_the_shopper(valkey_server: RedisServer) -> None:
    """A shopper who cancels too often waits; one whose orders the admin cancelled does not."""
    async with open_shop(valkey_server.url, cancellations_per_minute=1) as shop:
        await shop.put()
        for who, answers in ((ADMIN, 202), ({}, 429)):
            for _ in range(2):
                placed = await shop.order()
                path = f"{placed.headers['location']}/cancel"
                assert (await shop.client.post(path, headers=who)).json()["status"] == "cancelled"
                again = await shop.order()
                assert again.status_code == answers, again.text
                if answers != 202:
                    break


async def test_the_document_says_who_may_ask(shop: Shop, guarded: Shop) -> None:
    """Where shoppers show no token, none is needed for one's own orders; the export always needs the admin's."""
    open_document = (await shop.client.get("/openapi.json")).json()
    document = (await guarded.client.get("/openapi.json")).json()
    assert {"admin": []} in open_document["paths"]["/orders"]["get"]["security"]
    assert {} in open_document["paths"]["/orders"]["get"]["security"]
    assert document["paths"]["/orders"]["get"]["security"] == [{"admin": []}, {"shopper": []}]
    for one in (document, open_document):
        export = one["paths"]["/orders/export"]["get"]
        assert export["security"] == [{"admin": []}]
        assert set(export["responses"]["200"]["content"]) == {"text/csv", "application/x-ndjson"}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "text/csv"),
        ("*/*", "text/csv"),
        ("text/*;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson;q=0, text/csv;q=0.1", "text/csv"),
        ("application/json", None),
        ("text/csv;q=0", None),
        ("text/csv;q=x", None),
    ],
)
async def test_the_form_of_an_export_is_negotiated(shop: Shop, accept: str | None, expected: str | None) -> None:
    """By the qualities of RFC 9110; 406 where neither form is wanted."""
    headers = {**ADMIN, "Accept": accept} if accept else ADMIN
    request = shop.client.build_request("GET", "/orders/export", headers=headers)
    if accept is None:
        del request.headers["accept"]
    answer = await shop.client.send(request)
    if expected is None:
        problem(answer, 406, "not_acceptable")
    else:
        assert answer.headers["content-type"].partition(";")[0] == expected
        assert answer.headers["content-disposition"].startswith("attachment")


async def test_an_export_is_the_ledger(shop: Shop) -> None:
    """Every order once, in either form, the oldest first, equal to what the audit reads; and it answers as it goes."""
    await place_many(shop, MANY)
    orders = (await dump_ledger(shop.service.shards, limit=1000)).orders
    began = time.monotonic()
    text = await shop.client.get("/orders/export", headers=ADMIN, timeout=60)
    rows = list(csv.DictReader(io.StringIO(text.text)))
    lines = (await shop.client.get("/orders/export", headers={**ADMIN, "Accept": "application/x-ndjson"})).text
    objects = [json.loads(line) for line in lines.splitlines()]
    assert time.monotonic() - began < 60
    assert len(rows) == len(objects) == MANY
    # Compared to what is left: pytest would draw the difference of such lists for minutes.
    assert not {row["order_id"] for row in rows} ^ orders.keys()
    assert not {row["order_id"] for row in objects} ^ orders.keys()
    accepted = [datetime.fromisoformat(row["accepted_at"]) for row in rows]
    assert not [(one, two) for one, two in pairwise(accepted) if one > two][:3]
    for row, whole in zip(rows, objects, strict=True):
        assert row == {name: "" if value is None else str(value) for name, value in whole.items()}
        assert whole["user_id"] == orders[row["order_id"]].user_id
    some = await shop.client.get("/orders/export", params={"user_id": "user-7", "status": "pending"}, headers=ADMIN)
    assert len(list(csv.DictReader(io.StringIO(some.text)))) == 1


async def test_an_export_of_nothing_is_a_head(shop: Shop) -> None:
    """A file of CSV always says what its columns are."""
    text = (await shop.client.get("/orders/export", headers=ADMIN)).text
    assert text.splitlines() == [text.strip()]
    assert text.startswith("order_id,status,")
    lines = await shop.client.get("/orders/export", headers={**ADMIN, "Accept": "application/x-ndjson"})
    assert (lines.status_code, lines.text) == (200, "")


async def test_an_export_that_breaks_off_is_no_whole_file(make_server: MakeServer) -> None:
    """The connection is cut, so that no client takes a part for all; a store that was down before is 503."""
    server = make_server("valkey")
    read = 0

    async def follow(shop: Shop) -> None:
        nonlocal read
        async with shop.client.stream("GET", "/orders/export", headers=ADMIN, timeout=30) as answer:
            assert answer.status_code == 200
            async for chunk in answer.aiter_raw():
                if not read:
                    server.kill9()
                read += chunk.count(b"\n")

    async with open_shop(server.url) as shop:
        await place_many(shop, MANY)
        with pytest.raises(httpx.RemoteProtocolError):
            await follow(shop)
        assert 0 < read < MANY
        problem(await shop.client.get("/orders/export", headers=ADMIN), 503, "store_unavailable")


@pytest.mark.parametrize("path", ["/orders", "/orders/export", "/events", "/dead-letters", "/monitoring/benchmark"])
async def test_a_filter_that_is_misspelt_is_refused(shop: Shop, path: str) -> None:
    """It would ask for everything else: whoever refunds what was listed would refund all."""
    assert (await shop.client.get(path, headers=ADMIN)).status_code == 200
    for name in ("productid", "Limit", "a/b", ""):
        body = problem(await shop.client.get(path, params={name: "1"}, headers=ADMIN), 422, "invalid")
        assert [(field["location"], field["detail"]) for field in body["errors"]] == [
            ("query", "there is no such parameter")
        ]


async def test_no_cache_keeps_what_is_of_one_shopper(shop: Shop) -> None:
    """Nor what is of the merchant, or of this second."""
    order_id = (await shop.order()).json()["order_id"]
    personal = [f"/orders/{order_id}", "/orders?user_id=ada", "/orders", "/orders/export", "/events", "/dead-letters"]
    for path in (*personal, "/orders/queue", "/inventory/lamp", "/inventory/metrics", "/monitoring/metrics"):
        answer = await shop.client.get(path, headers=ADMIN)
        assert (answer.status_code, answer.headers.get("cache-control")) == (200, "no-store"), path
