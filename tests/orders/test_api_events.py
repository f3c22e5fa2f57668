"""`GET /events`: pages, long polls and streams of order changes, for many who follow and some who hang."""

import asyncio
import gc
import inspect
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import AsyncGeneratorType
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from service.api.events import MAX_WAIT_SECONDS
from service.ledger.feed import Cursor
from service.ledger.orders import NewOrder, new_order_id
from tests.conftest import MakeServer
from tests.support import RedisServer, wait_until
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop, problem

TOKEN = {"payment_token": "secret-token"}
SSE = {**ADMIN, "Accept": "text/event-stream"}


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without order workers, with ten lamps on sale."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop


async def events(shop: Shop, **query: Any) -> dict[str, Any]:
    """Read a page."""
    answer = await shop.client.get("/events", params=query, headers=ADMIN)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    page: dict[str, Any] = answer.json()
    return page


@asynccontextmanager
async def stream(shop: Shop, **headers: str) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """Yield the messages of a stream: their fields, or `comment`."""
    async with shop.client.stream("GET", "/events", headers={**SSE, **headers}, timeout=20) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        yield _messages(answer)


async def _messages(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name or "comment"] = value
        else:
            if fields.keys() != {"retry"}:
                yield fields
            fields = {}


async def test_events_are_cloud_events(shop: Shop) -> None:
    """With the order as `GET /orders/{order_id}` showed it when it changed."""
    order_id = (await shop.order(reference="basket-1", **TOKEN)).json()["order_id"]
    order = (await shop.client.get(f"/orders/{order_id}")).json()
    await shop.client.post(f"/orders/{order_id}/cancel")
    cancelled = (await shop.client.get(f"/orders/{order_id}")).json()
    answer = await shop.client.get("/events", headers=ADMIN)
    assert "secret-token" not in answer.text
    first, second = answer.json()["events"]
    as_shown = {name: order[name] for name in second["data"]}
    shown = ("specversion", "type", "subject", "datacontenttype", "data", "time")
    assert {name: first.pop(name) for name in shown} == {
        "specversion": "1.0",
        "type": "flashsale.order.pending",
        "subject": order_id,
        "datacontenttype": "application/json",
        "data": as_shown,
        "time": order["accepted_at"],
    }
    assert first.keys() == {"id", "source"}
    assert (second["type"], second["data"]["status"]) == ("flashsale.order.cancelled", "cancelled")
    assert second["data"] == {name: cancelled[name] for name in second["data"]}
    assert (second["id"] != first["id"], second["source"]) == (True, first["source"])


async def test_a_page_goes_on_where_the_last_one_ended(shop: Shop) -> None:
    """A page at a time; at the end the same cursor asks for what comes next."""
    ids = [(await shop.order(user_id=f"user-{number}")).json()["order_id"] for number in range(5)]
    page = await events(shop, limit=2)
    found = [event["subject"] for event in page["events"]]
    while page["events"]:
        page = await events(shop, limit=2, after=page["cursor"])
        found += [event["subject"] for event in page["events"]]
    assert found == ids
    new = (await shop.order()).json()["order_id"]
    assert [event["subject"] for event in (await events(shop, after=page["cursor"]))["events"]] == [new]


@pytest.mark.parametrize(
    "query", [{"after": "no-cursor"}, {"limit": 0}, {"limit": 1001}, {"wait": MAX_WAIT_SECONDS + 1}]
)
async def test_bad_questions(shop: Shop, query: dict[str, Any]) -> None:
    """A cursor that is none is told by its place."""
    body = problem(await shop.client.get("/events", params=query, headers=ADMIN), 422, "invalid")
    assert body["errors"][0]["pointer"] == f"#/{next(iter(query))}"


async def test_who_may_not_ask_and_what_is_gone(shop: Shop) -> None:
    """Nobody without the admin token; a stream begins with a status, too."""
    problem(await shop.client.get("/events"), 401, "unauthorized")
    for headers in ({**SSE, "Last-Event-ID": "x"}, {**SSE, "Last-Event-ID": "x" * 5000}):
        problem(await shop.client.get("/events", headers=headers), 422, "invalid")
    problem(await shop.client.get("/events", headers={**ADMIN, "Accept": "text/html"}), 406, "not_acceptable")
    elsewhere = str(Cursor(1, {}))
    problem(await shop.client.get("/events", params={"after": elsewhere}, headers=ADMIN), 410, "cursor_expired")
    problem(await shop.client.get("/events", headers={**SSE, "Last-Event-ID": elsewhere}), 410, "cursor_expired")
    async with asyncio.timeout(5):
        answer = await shop.client.head("/events", headers=SSE)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_many_who_wait_cost_the_store_what_one_does(shop: Shop, valkey: Redis) -> None:
    """Each is told within a second, and 60 long polls are no more scripts than a few."""
    end = (await events(shop))["cursor"]

    async def calls() -> int:
        stats: Any = await valkey.info("commandstats")
        return int(stats["cmdstat_evalsha"]["calls"])

    async with httpx.AsyncClient(base_url=shop.url, timeout=15, headers=ADMIN) as many:
        polls = [asyncio.create_task(many.get("/events", params={"after": end, "wait": 10})) for _ in range(60)]
        await wait_until(lambda: shop.service.feed.waiting == len(polls), 10, "all wait")
        before, began = await calls(), asyncio.get_running_loop().time()
        order_id = (await shop.order()).json()["order_id"]
        answers = await asyncio.gather(*polls)
        seconds, asked = asyncio.get_running_loop().time() - began, await calls() - before
    assert {answer.json()["events"][0]["subject"] for answer in answers} == {order_id}
    assert seconds < 2
    assert asked < 40, "the process itself asks about ten times a second"


async def test_a_long_poll_ends_empty(shop: Shop) -> None:
    """After the time that was asked for, with a cursor to go on."""
    end = (await events(shop))["cursor"]
    began = asyncio.get_running_loop().time()
    page = await events(shop, after=end, wait=0.4)
    assert (page["events"], page["cursor"]) == ([], end)
    assert 0.4 <= asyncio.get_running_loop().time() - began < 3


async def test_a_stream_goes_on_where_it_was_left(shop: Shop) -> None:
    """What there is, then what comes; after any event by `Last-Event-ID`."""
    ids = [(await shop.order(user_id=f"user-{number}")).json()["order_id"] for number in range(3)]
    async with stream(shop) as messages, asyncio.timeout(10):
        got = [await anext(messages) for _ in range(3)]
        assert [json.loads(message["data"])["subject"] for message in got] == ids
        late = (await shop.order()).json()["order_id"]
        assert json.loads((await anext(messages))["data"])["subject"] == late
    async with stream(shop, **{"Last-Event-ID": got[1]["id"]}) as messages, asyncio.timeout(10):
        rest = [json.loads((await anext(messages))["data"])["subject"] for _ in range(2)]
    assert rest == [ids[2], late]


async def test_a_stream_outlives_the_store(make_server: MakeServer) -> None:
    """It says that the store is down, and goes on when it is back."""
    server = make_server("valkey", aof=True)
    async with open_shop(server.url) as shop:
        await shop.put()
        async with stream(shop) as messages, asyncio.timeout(20):
            assert "comment" in await anext(messages)
            server.kill9()
            while "does not answer" not in (await anext(messages)).get("comment", ""):
                pass
            server.restart()
            order_id = (await wait_until(lambda: _placed(shop), 10)).json()["order_id"]
            while "data" not in (message := await anext(messages)):
                pass
        assert json.loads(message["data"])["subject"] == order_id


async def _placed(shop: Shop) -> httpx.Response | None:
    answer = await shop.order(key="one")
    return answer if answer.status_code == 202 else None


def stream_served() -> AsyncGeneratorType[Any, Any] | None:
    """Return what makes the stream that is served in this process."""
    found = [one for one in gc.get_objects() if inspect.isasyncgen(one) and one.__name__ == "_stream"]
    return next((one for one in found if one.ag_frame is not None), None)


async def test_who_does_not_read_is_cut_off(valkey_server: RedisServer) -> None:
    """Others are served meanwhile; what waits for the hanging one is bounded by what its connection takes."""
    async with open_shop(valkey_server.url, client_timeout_seconds=1) as shop:
        await shop.put(stock=20_000)
        for start in range(0, 6000, 250):  # several MB, more than the kernel keeps for a connection
            users = [f"{number:0128d}" for number in range(start, start + 250)]
            orders = [
                NewOrder(order_id=new_order_id(0), product_id="lamp", user_id=user, quantity=1, reference="r" * 128)
                for user in users
            ]
            await shop.service.ledger.place(0, orders)
        with socket.socket() as hanging:
            hanging.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            hanging.connect(("127.0.0.1", int(shop.url.rpartition(":")[2])))
            lines = [f"{name}: {value}" for name, value in SSE.items()]
            hanging.sendall("\r\n".join(["GET /events HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode())
            served = await wait_until(stream_served, 5, "it is served")
            await wait_until(lambda: served.ag_frame is None, 20, "it is cut off, and nothing of it is left")
        assert len((await events(shop, limit=1000))["events"]) == 1000
