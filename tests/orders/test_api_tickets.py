"""The routes of a sale by ticket: what a shopper is told and when, and who is turned away."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest

from tests.support import RedisServer, wait_until
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop, problem

SIGNED_WITH = "a secret that is long enough for HS256"
PATH = "/inventory/lamp/tickets"


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API with ten lamps that are sold by ticket in an hour."""
    async with open_shop(valkey_server.url) as shop:
        await offer(shop)
        yield shop


async def offer(shop: Shop, **changes: Any) -> None:
    """Put the lamp on sale by ticket."""
    await shop.put(opens_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat(), **changes)
    assert (await patch(shop, admission="ticket")).json()["admission"] == "ticket"


async def patch(shop: Shop, **fields: Any) -> httpx.Response:
    """Change some fields of the lamp."""
    return await shop.client.patch("/inventory/lamp", json=fields, headers=ADMIN)


async def ticket(shop: Shop, user_id: str = "ada") -> dict[str, Any]:
    """Ask for a ticket that there must be."""
    answer = await shop.client.post(PATH, json={"user_id": user_id})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store"), answer.text
    body: dict[str, Any] = answer.json()
    return body


async def order(shop: Shop, ticket: str, user_id: str = "ada", **headers: str) -> httpx.Response:
    """Order a lamp with a ticket, by the short way or, with a type that says more, by the long one."""
    body = {"product_id": "lamp", "user_id": user_id, "quantity": 1}
    return await shop.client.post("/orders", json=body, headers={"Sale-Ticket": ticket, **headers})


async def test_a_ticket_is_given_before_the_opening_and_lets_its_user_in(shop: Shop) -> None:
    before = await ticket(shop)
    assert {name: before[name] for name in ("position", "ahead", "turn_in_seconds", "tickets")} == {
        **dict.fromkeys(("position", "ahead", "turn_in_seconds")),
        "tickets": 1,
    }
    assert before["opens_at"] == (await shop.product())["opens_at"]
    problem(await order(shop, before["ticket"]), 409, "sale_not_open")
    await patch(shop, opens_at=None)
    after = await ticket(shop)
    assert (after["ticket"], after["position"], after["ahead"], after["turn_in_seconds"]) == (before["ticket"], 1, 0, 0)
    problem(await order(shop, before["ticket"], "bob"), 403, "ticket_invalid")
    problem(await shop.order(), 403, "ticket_required")
    assert (await order(shop, before["ticket"])).status_code == 202
    long = await order(shop, before["ticket"], **{"Content-Type": "application/json; charset=utf-8"})
    assert long.status_code == 202, "the general way"
    for reason in ("ticket_invalid", "ticket_required"):
        assert await shop.rejections(reason=reason) == 1


async def test_the_metrics_tell_how_many_wait(shop: Shop) -> None:
    """Of all products that are sold by ticket; a product that is no longer so has none."""

    async def told() -> list[float | None]:
        await shop.service.poller.fresh()
        await wait_until(shop.service.poller.exported, 10, "the lease is ours")
        return [shop.seen.value(f"flash_sale_tickets_{name}") for name in ("given", "admitted")]

    assert await told() == [0, 0]
    for number in range(12):
        await ticket(shop, f"user-{number}")
    assert await told() == [12, 0]
    await patch(shop, opens_at=None)
    await ticket(shop)
    assert await told() == [13, 10]
    await patch(shop, admission="open")
    assert await told() == [0, 0]


async def test_whose_turn_has_not_come_is_told_when_to_try_again(shop: Shop) -> None:
    await patch(shop, total_stock=1)
    users = ["ada", "bob", "cid"]
    tickets = {user: (await ticket(shop, user))["ticket"] for user in users}
    await patch(shop, opens_at=None)
    stands = {user: await ticket(shop, user) for user in users}
    second = next(user for user in users if stands[user]["position"] == 2)
    third = next(user for user in users if stands[user]["position"] == 3)
    refused = await order(shop, tickets[third], third)
    problem(refused, 409, "not_your_turn")
    assert 15 < int(refused.headers["retry-after"]) <= 30
    assert (stands[second]["ahead"], stands[third]["ahead"]) == (0, 1)
    assert 0 < stands[second]["turn_in_seconds"] <= 15 < stands[third]["turn_in_seconds"] <= 30
    assert (await shop.product())["stock"] == 1


async def test_the_same_order_again_needs_no_ticket(shop: Shop) -> None:
    """Its answer was given; the ticket is no part of what an idempotency key stands for."""
    shown = (await ticket(shop))["ticket"]
    await patch(shop, opens_at=None)
    first = await order(shop, shown, **{"Idempotency-Key": "k"})
    again = await shop.order("k")
    assert (first.status_code, again.status_code, again.json()) == (202, 200, first.json())


async def test_where_no_ticket_is_needed_there_is_none(shop: Shop) -> None:
    await patch(shop, admission="open", opens_at=None)
    problem(await shop.client.post(PATH, json={"user_id": "ada"}), 409, "no_ticket_needed")
    problem(await shop.client.post("/inventory/desk/tickets", json={"user_id": "ada"}), 404, "unknown_product")
    assert (await order(shop, "of-another-sale")).status_code == 202


async def test_a_closed_sale_gives_no_tickets(shop: Shop) -> None:
    hour = timedelta(hours=1)
    await patch(shop, opens_at=(datetime.now(UTC) - hour).isoformat(), closes_at=datetime.now(UTC).isoformat())
    problem(await shop.client.post(PATH, json={"user_id": "ada"}), 409, "sale_closed")


@pytest.mark.parametrize("shown", ["a b", "x" * 129, ""])
async def test_what_cannot_be_a_ticket_is_no_header(shop: Shop, shown: str) -> None:
    found = problem(await order(shop, shown), 422, "invalid")["errors"]
    assert [(one["location"], one["pointer"].lower()) for one in found] == [("header", "#/sale-ticket")]


@pytest.mark.parametrize("body", [{}, {"user_id": None}, {"user_id": "no user"}, {"user_id": "ada", "more": 1}, []])
async def test_who_asks_must_say_who(shop: Shop, body: Any) -> None:
    problem(await shop.client.post(PATH, json=body), 422, "invalid")


@pytest.mark.parametrize("value", ["closed", True, None, 1])
async def test_admission_is_one_of_two_words(shop: Shop, value: Any) -> None:
    errors = problem(await patch(shop, admission=value), 422, "invalid")["errors"]
    assert [error["pointer"] for error in errors] == ["#/admission"]


async def test_a_list_of_products_tells_which_are_sold_by_ticket(shop: Shop) -> None:
    await shop.put("desk")
    listed = (await shop.client.get("/inventory")).json()["products"]
    assert {one["product_id"]: one["admission"] for one in listed} == {"lamp": "ticket", "desk": "open"}
    assert (await shop.put("lamp"))["admission"] == "ticket", "to put it again is no decision to sell otherwise"


async def test_tickets_count_towards_the_limits_on_orders(valkey_server: RedisServer) -> None:
    async with open_shop(valkey_server.url, rate_limit_per_second=1) as shop:
        await offer(shop)
        first = await shop.client.post(PATH, json={"user_id": "ada"})
        assert (first.status_code, first.headers["ratelimit"]) == (201, '"user";r=0;t=1')
        refused = await shop.client.post(PATH, json={"user_id": "ada"})
        problem(refused, 429, "rate_limited")
        assert refused.headers["retry-after"] == "1"


async def test_a_token_says_whose_ticket_it_is(valkey_server: RedisServer) -> None:
    """Whatever the body says: nobody has tickets of others, and who shows no token has none."""
    expires = datetime.now(UTC) + timedelta(hours=1)
    ada, bob = (
        {"Authorization": f"Bearer {jwt.encode({'sub': who, 'exp': expires}, SIGNED_WITH, 'HS256')}"}
        for who in ("ada", "bob")
    )
    async with open_shop(valkey_server.url, auth_jwt={"secret": SIGNED_WITH}) as shop:
        await offer(shop)
        problem(await shop.client.post(PATH, json={"user_id": "ada"}), 401, "unauthorized")
        given = await shop.client.post(PATH, json={}, headers=ada)
        assert given.status_code == 201
        others = await shop.client.post(PATH, json={"user_id": "ada"}, headers=bob)
        assert others.json()["ticket"] != given.json()["ticket"]
        await patch(shop, opens_at=None)
        problem(await order(shop, given.json()["ticket"], **bob), 403, "ticket_invalid")
        assert (await order(shop, given.json()["ticket"], **ada)).status_code == 202
