"""The routes of an order, each with every answer that it may give."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop, problem


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without order workers, with ten lamps on sale."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop


def ago(**duration: float) -> str:
    """Return a past (or, below 0, a future) moment as JSON has it."""
    return (datetime.now(UTC) - timedelta(**duration)).isoformat()


async def test_an_order_is_accepted_with_its_whole_face(shop: Shop) -> None:
    """202, where it is, what it costs, until when the units are held, and its place in the queue."""
    before = datetime.now(UTC) - timedelta(seconds=5)
    answer = await shop.order(quantity=3)
    body = answer.json()
    times = [datetime.fromisoformat(body.pop(name)) for name in ("accepted_at", "expires_at")]
    order_id = body.pop("order_id")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/orders/{order_id}"
    assert "idempotency-replayed" not in answer.headers
    assert body == {
        "status": "pending",
        "product_id": "lamp",
        "user_id": "ada",
        "quantity": 3,
        "unit_price": 4950,
        "currency": "EUR",
        "queue_position": 1,
        "estimated_wait_seconds": 0.0,
    }
    assert before < times[0] < before + timedelta(seconds=20)
    assert times[1] - times[0] == timedelta(seconds=900)


async def test_the_location_of_an_order_is_the_order(shop: Shop) -> None:
    """Nobody has begun it, so all that tells of its end is null."""
    answer = await shop.order()
    order = await shop.client.get(answer.headers["location"])
    shared = {name: value for name, value in answer.json().items() if name in order.json()}
    assert order.status_code == 200
    nothing = dict.fromkeys(("settled_at", "reference", "reason", "payment_id"))
    assert order.json() == {**shared, **nothing, "attempts": 0, "refunded_quantity": 0}


@pytest.mark.parametrize("stored", [False, True], ids=["first", "after the answer was lost"])
async def test_the_same_key_and_request_give_the_first_answer_again(shop: Shop, stored: bool) -> None:
    """200 and the very body of the 202, though other orders came in between and its price was changed."""
    first = await shop.order("key", quantity=2)
    if stored:
        await shop.order(user_id="eve")
        await shop.put(price=1, stock=0)
    again = await shop.order("key", quantity=2)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert (await shop.product())["held"] == (3 if stored else 2)


async def test_the_first_answer_comes_again_when_the_order_has_moved_on(shop: Shop) -> None:
    """What a client is told of a key never changes; where the order stands is another question."""
    first = await shop.order("key")
    await shop.client.post(f"{first.headers['location']}/cancel")
    again = await shop.order("key")
    assert (again.status_code, again.content) == (200, first.content)


@pytest.mark.parametrize(
    "other", [{"quantity": 2}, {"product_id": "desk"}, {"user_id": "eve"}], ids=["quantity", "product", "user"]
)
async def test_the_same_key_for_another_request_is_a_conflict(shop: Shop, other: dict[str, Any]) -> None:
    """422, and nothing is taken for it."""
    await shop.put("desk")
    await shop.order("key")
    problem(await shop.order("key", **other), 422, "idempotency_conflict")
    assert (await shop.product())["held"] == 1
    assert (await shop.product("desk"))["held"] == 0


async def test_without_a_key_each_request_is_an_order(shop: Shop) -> None:
    """Sent twice, ordered twice."""
    orders = [(await shop.order()).json()["order_id"] for _ in range(2)]
    assert len(set(orders)) == 2
    assert (await shop.product())["held"] == 2


async def test_a_refused_key_is_free_for_a_better_day(shop: Shop) -> None:
    """A refusal is not kept: once there are units, the same request succeeds."""
    problem(await shop.order("key", quantity=11), 409, "sold_out")
    await shop.client.post("/inventory/lamp/restock", json={"quantity": 1}, headers=ADMIN)
    assert (await shop.order("key", quantity=11)).status_code == 202


async def test_more_than_is_left_is_sold_out_and_says_how_many_are_left(shop: Shop) -> None:
    """The order is refused whole."""
    body = problem(await shop.order(quantity=11), 409, "sold_out")
    assert body["detail"] == "10 units are left."
    assert (await shop.product())["stock"] == 10


async def test_more_than_a_user_may_have_is_refused(shop: Shop) -> None:
    """The limit counts what the user holds; another user has a limit of their own."""
    await shop.put(per_user_limit=2)
    assert (await shop.order(quantity=2)).status_code == 202
    problem(await shop.order(), 409, "limit_exceeded")
    assert (await shop.order(user_id="eve")).status_code == 202


async def test_outside_its_window_nothing_is_sold(shop: Shop) -> None:
    """Before it opens and after it has closed, each with its own code."""
    await shop.put(opens_at=ago(hours=-1))
    problem(await shop.order(), 409, "sale_not_open")
    await shop.put(opens_at=ago(hours=2), closes_at=ago(hours=1))
    problem(await shop.order(), 409, "sale_closed")


async def test_an_unknown_product_is_404(shop: Shop) -> None:
    """The request was fine; there is nothing of that name."""
    problem(await shop.order(product_id="dodo"), 404, "unknown_product")


@pytest.mark.parametrize("order_id", ["0" * 30, "99" + "0" * 28, "x", "..", "%7B%7D", "%00", "a%0Ab", "é"])
@pytest.mark.parametrize("route", ["/orders/{}", "/orders/{}/cancel"])
async def test_an_unknown_order_is_404(shop: Shop, order_id: str, route: str) -> None:
    """Also an id that could never be one, and one of a shard that does not exist."""
    if order_id == "..":
        order_id = "%2E%2E"
    method = "POST" if route.endswith("cancel") else "GET"
    problem(await shop.client.request(method, route.format(order_id)), 404, "unknown_order")


async def test_a_cancelled_order_gives_its_units_back_once(shop: Shop) -> None:
    """200 and the order; asking twice is no harm."""
    order = (await shop.order(quantity=4)).headers["location"]
    for _ in range(2):
        answer = await shop.client.post(f"{order}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert answer.json()["settled_at"]
        product = await shop.product()
        assert (product["stock"], product["held"]) == (10, 0)
    assert (await shop.client.get(order)).json()["status"] == "cancelled"


async def test_orders_of_a_user_come_in_pages_newest_first(shop: Shop) -> None:
    """Every order once, in the opposite order of placing; other users' orders are not there."""
    placed = [(await shop.order()).json()["order_id"] for _ in range(7)]
    await shop.order(user_id="eve")
    pages: list[list[str]] = []
    query: dict[str, Any] = {"user_id": "ada", "limit": 3}
    while True:
        body = (await shop.client.get("/orders", params=query)).json()
        pages.append([order["order_id"] for order in body["orders"]])
        if body["next_cursor"] is None:
            break
        query["cursor"] = body["next_cursor"]
    assert [len(page) for page in pages] == [3, 3, 1]
    listed = [order_id for page in pages for order_id in page]
    assert sorted(listed) == sorted(placed)
    assert listed[0] == placed[-1]


async def test_a_page_is_not_disturbed_by_orders_placed_meanwhile(shop: Shop) -> None:
    """The cursor stands for a place, not for a number."""
    placed = [(await shop.order()).json()["order_id"] for _ in range(4)]
    first = (await shop.client.get("/orders", params={"user_id": "ada", "limit": 2})).json()
    await shop.order()
    rest = await shop.client.get("/orders", params={"user_id": "ada", "cursor": first["next_cursor"]})
    seen = [order["order_id"] for order in first["orders"] + rest.json()["orders"]]
    assert sorted(seen) == sorted(placed)


async def test_a_user_without_orders_has_an_empty_page(shop: Shop) -> None:
    """200: nobody is unknown."""
    answer = await shop.client.get("/orders", params={"user_id": "nobody"})
    assert (answer.status_code, answer.json()) == (200, {"orders": [], "next_cursor": None})


async def test_the_queue_says_how_long_it_is(shop: Shop) -> None:
    """Orders that nobody has in hand are pending."""
    empty = (await shop.client.get("/orders/queue")).json()
    for _ in range(3):
        await shop.order()
    queue = (await shop.client.get("/orders/queue")).json()
    assert empty == {"length": 0, "pending": 0, "oldest_age_seconds": 0.0, "drain_rate": 0.0, "dead_letters": 0}
    assert queue.pop("oldest_age_seconds") >= 0
    assert queue == {"length": 3, "pending": 3, "drain_rate": 0.0, "dead_letters": 0}


async def test_ids_with_every_character_they_may_have_survive_the_store(shop: Shop) -> None:
    """What went in comes out, in the order, in the list and in the inventory."""
    product_id, user_id = "A.b_c:d-9", "a.B_c:d@e|f+g=h-9"
    await shop.put(product_id)
    order = (await shop.order(product_id=product_id, user_id=user_id)).json()
    listed = (await shop.client.get("/orders", params={"user_id": user_id})).json()["orders"]
    assert [(o["order_id"], o["product_id"], o["user_id"]) for o in listed] == [
        (order["order_id"], product_id, user_id)
    ]
    assert (await shop.product(product_id))["held"] == 1
