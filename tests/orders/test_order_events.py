"""An order is followed: its place in the queue as it is now, its events until it has ended, and what followers cost."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import jwt
import pytest

from service.background import background_tasks
from service.ledger.order_reader import OrderReader
from service.ledger.orders import Order, Status
from service.orders.followers import OrderFollowers
from service.store import Shards
from tests.orders.sale import Sale
from tests.support import RedisServer
from tests.support.service import ADMIN, Fleet
from tests.support.shop import Shop, open_shop, problem
from tests.support.waiting import wait_until

Event = dict[str, Any]
SIGNED_WITH = "a-secret-that-is-long-enough-for-hs256"


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API with a hundred lamps, and no order worker."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put(stock=100)
        yield shop


async def placed(shop: Shop, orders: int) -> list[str]:
    """Place orders one after the other; return their ids."""
    return [(await shop.order()).json()["order_id"] for _ in range(orders)]


async def place_of(shop: Shop, order_id: str) -> int | None:
    """Return the place in the queue that the order's own address tells."""
    body = (await shop.client.get(f"/orders/{order_id}")).json()
    assert ("queue_position" in body) == ("estimated_wait_seconds" in body) == (body["status"] == "pending")
    found: int | None = body.get("queue_position")
    return found


@asynccontextmanager
async def following(shop: Shop, order_id: str, **headers: str) -> AsyncIterator[AsyncIterator[Event]]:
    """Follow an order, and yield the data of its events."""
    async with shop.client.stream("GET", f"/orders/{order_id}/events", headers=headers) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.headers["cache-control"] == "no-store"

        async def events() -> AsyncIterator[Event]:
            named = False
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    assert line == "event: order"
                    named = True
                elif line.startswith("data: "):
                    assert named
                    yield json.loads(line.removeprefix("data: "))

        yield events()


async def test_the_place_in_the_queue_is_the_one_of_now(shop: Shop) -> None:
    """Whoever goes, by a cancellation or to a worker, goes from before those who came later, and from nobody else's."""
    orders = await placed(shop, 6)
    assert [await place_of(shop, order) for order in orders] == [1, 2, 3, 4, 5, 6]
    await shop.client.post(f"/orders/{orders[2]}/cancel")
    assert [await place_of(shop, order) for order in orders] == [1, 2, None, 3, 4, 5]
    sale = Sale(shop.service.shards)
    first, second = [begun.order for begun in await sale.take(limit=2)]
    assert first is not None
    assert second is not None
    assert [await place_of(shop, order) for order in orders] == [None, None, None, 3, 4, 5]
    await sale.settle(first)
    assert [await place_of(shop, order) for order in orders[3:]] == [2, 3, 4]
    await sale.defer(second)
    assert [await place_of(shop, order) for order in orders[3:]] == [2, 3, 4]
    assert (await shop.order()).json()["queue_position"] == 5


async def test_the_wait_is_the_one_from_now(shop: Shop) -> None:
    """At the pace that the workers have: what the next order is promised, less for whoever stands before it."""
    orders = await placed(shop, 8)
    sale = Sale(shop.service.shards)
    assert (await shop.client.get(f"/orders/{orders[7]}")).json()["estimated_wait_seconds"] == 0
    await sale.shards.client.hset("{fs:00}:totals", "drain", 2000)
    waits = [(await shop.client.get(f"/orders/{order}")).json()["estimated_wait_seconds"] for order in orders]
    assert waits == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert (await shop.order()).json()["estimated_wait_seconds"] == 4


async def test_an_order_is_followed_to_its_end(shop: Shop) -> None:
    """What it waits for each second while it is pending, then each change, then no more."""
    orders = await placed(shop, 2)
    sale = Sale(shop.service.shards)
    async with following(shop, orders[1]) as events, asyncio.timeout(20):
        first = await anext(events)
        assert (first["status"], first["queue_position"]) == ("pending", 2)
        assert first == (await shop.client.get(f"/orders/{orders[1]}")).json()
        began = time.monotonic()
        assert [(await anext(events))["queue_position"] for _ in range(2)] == [2, 2]
        assert time.monotonic() - began > 0.7
        await shop.client.post(f"/orders/{orders[0]}/cancel")
        assert (await anext(events))["queue_position"] == 1
        (begun,) = await sale.take()
        assert begun.order is not None
        processing = await anext(events)
        assert (processing["status"], "queue_position" in processing) == ("processing", False)
        await sale.settle(begun.order, payment_id="paid")
        ended = [event async for event in events]
    assert [(event["status"], event["payment_id"]) for event in ended] == [("confirmed", "paid")]
    assert len(shop.service.followers) == 0


async def test_open_streams_are_counted(shop: Shop) -> None:
    """By their route as a metric, all together in the live figures; those that have gone are not."""
    routes = ("/events", "/orders/{order_id}/events")

    def open_streams() -> list[float | None]:
        return [shop.seen.value("flash_sale_event_streams", route=route) for route in routes]

    async def told(count: int) -> bool:
        found = (await shop.client.get("/monitoring/metrics")).json()["event_streams"]
        return bool(found == count)

    (order_id,) = await placed(shop, 1)
    assert (open_streams(), await told(0)) == ([0, 0], True)
    headers = {**ADMIN, "Accept": "text/event-stream"}
    async with following(shop, order_id) as one, following(shop, order_id) as other, asyncio.timeout(20):
        await anext(one), await anext(other)
        async with shop.client.stream("GET", "/events", headers=headers) as all_orders:
            chunks = all_orders.aiter_bytes()
            await anext(chunks)
            assert open_streams() == [1, 2]
            await wait_until(partial(told, 3), 10, "all three are told")
        await wait_until(lambda: open_streams() == [0, 2], 10, "who has gone is not counted")
    await wait_until(partial(told, 0), 10, "nobody follows any more")
    assert open_streams() == [0, 0]


@pytest.mark.parametrize("status", ["cancelled", "confirmed"])
async def test_an_order_that_has_ended_is_told_once(shop: Shop, status: str) -> None:
    (order_id,) = await placed(shop, 1)
    if status == "cancelled":
        await shop.client.post(f"/orders/{order_id}/cancel")
    else:
        sale = Sale(shop.service.shards)
        (begun,) = await sale.take()
        assert begun.order is not None
        await sale.settle(begun.order)
    async with following(shop, order_id) as events, asyncio.timeout(10):
        assert [event["status"] async for event in events] == [status]


async def test_who_may_not_see_an_order_may_not_follow_it(valkey_server: RedisServer) -> None:
    async with open_shop(valkey_server.url, auth_jwt={"secret": SIGNED_WITH}) as shop:
        await shop.put()
        ada, bob = [
            {"Authorization": f"Bearer {jwt.encode({'sub': who, 'exp': int(time.time()) + 600}, SIGNED_WITH)}"}
            for who in ("ada", "bob")
        ]
        body = {"product_id": "lamp", "quantity": 1}
        order_id = (await shop.client.post("/orders", json=body, headers=ada)).json()["order_id"]
        path = f"/orders/{order_id}/events"
        problem(await shop.client.get(path), 401, "unauthorized")
        problem(await shop.client.get(path, headers=bob), 404, "unknown_order")
        problem(await shop.client.get(f"/orders/00{'f' * 28}/events", headers=ada), 404, "unknown_order")
        async with following(shop, order_id, **ada) as events, asyncio.timeout(10):
            assert (await anext(events))["user_id"] == "ada"


async def test_head_of_a_stream_ends(shop: Shop) -> None:
    """It has what `GET` has but the body, and does not go on while the order waits."""
    (order_id,) = await placed(shop, 1)
    async with asyncio.timeout(5):
        answer = await shop.client.head(f"/orders/{order_id}/events")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    await wait_until(lambda: not len(shop.service.followers), 5, "nobody follows")


async def test_followers_take_no_more_than_half_of_the_connections(valkey_server: RedisServer) -> None:
    """And no single order all of that; whoever is one too many may ask again."""
    async with open_shop(valkey_server.url, max_connections=50) as shop, AsyncExitStack() as stack:
        await shop.put(stock=100)
        first, second = await placed(shop, 2)
        kept = [await stack.enter_async_context(following(shop, first)) for _ in range(20)]  # else they are let go
        for events in kept:
            await anext(events)
        refused = await shop.client.get(f"/orders/{first}/events")
        assert problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "5"
        others = [await stack.enter_async_context(following(shop, second)) for _ in range(5)]
        for events in others:
            await anext(events)
        problem(await shop.client.get(f"/orders/{second}/events"), 503, "overloaded")
        assert (await shop.client.get(f"/orders/{second}")).status_code == 200


async def test_a_follower_that_does_not_read_costs_the_others_nothing(shop: Shop) -> None:
    """It waits by itself; when it is gone nothing is left of it."""
    (order_id,) = await placed(shop, 1)
    address = httpx.URL(shop.url)
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(f"GET /orders/{order_id}/events HTTP/1.1\r\nHost: {address.netloc.decode()}\r\n\r\n".encode())
    await wait_until(lambda: len(shop.service.followers) == 1, 5, "it follows")
    async with following(shop, order_id) as events, asyncio.timeout(10):
        for _ in range(3):
            await anext(events)
    writer.close()
    await wait_until(lambda: not len(shop.service.followers), 5, "nobody follows")


class _CountingShards(Shards):
    """Counts the readings of orders."""

    readings = 0

    async def run(self, step: str, shard: int, *args: Any, **options: Any) -> Any:
        self.readings += step == "order"
        return await super().run(step, shard, *args, **options)


async def test_a_thousand_followers_cost_a_round_trip_a_second(sale: Sale) -> None:
    """However many they are; and all hear of a change."""
    await sale.product(stock=2000)
    shards = _CountingShards(sale.shards.client, sale.shards.scripts)
    reader = OrderReader(shards)
    followers = OrderFollowers(reader, 1000)
    orders: list[Order] = []
    for _ in range(10):
        requests = [sale.request(user_id=f"u{number}") for number in range(100)]
        orders += [found.order for found in await sale.place(*requests) if found.order]
    async with AsyncExitStack() as stack:
        seen = await reader.orders(0, [order.order_id for order in orders])
        following = [stack.enter_context(followers.follow(current)) for current in seen if current]
        assert len(followers) == 1000
        shards.readings = 0
        await stack.enter_async_context(background_tasks(followers.run))
        began = time.monotonic()
        for _ in range(3):
            news = await asyncio.gather(*(follower.next() for follower in following))
            assert {current.order.status for current in news if current} == {Status.PENDING}
        for number in range(0, 1000, 100):
            taken = await sale.take(limit=100)
            assert len(taken) == 100, number
        async with asyncio.timeout(10):
            statuses: set[Status] = set()
            while statuses != {Status.PROCESSING}:
                news = await asyncio.gather(*(follower.next() for follower in following))
                statuses = {current.order.status for current in news if current}
        assert shards.readings <= time.monotonic() - began + 2
        followers.end()
        assert {await follower.next() for follower in following} == {None}
    await reader.aclose()
    assert len(followers) == 0


def test_a_process_that_ends_lets_its_followers_go(valkey_server: RedisServer) -> None:
    """At once: it does not wait for orders that may wait for minutes."""
    lamp = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": 50}
    with Fleet(valkey_server.url, command="api", workers=0) as fleet, fleet.client() as client:
        client.put("/inventory/lamp", json=lamp, headers=ADMIN)
        order = client.post("/orders", json={"product_id": "lamp", "user_id": "ada", "quantity": 1}).json()
        with client.stream("GET", f"/orders/{order['order_id']}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: order"
            began = time.monotonic()
            fleet.terminate()
            assert all(not line.startswith("event: ") or line == "event: order" for line in lines)
        assert time.monotonic() - began < 3
