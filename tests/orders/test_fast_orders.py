"""The short way of `POST /orders` answers as the route does, and leaves to it whatever is not plainly an order."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service.api.errors import ErrorHandlers
from service.api.middleware.fast_orders import MAX_BYTES, OrderFastPathMiddleware
from service.api.orders import OrderAccepted, accepted_json
from service.ledger.orders import ORDER_ID, NewOrder, Order, RandomBits, new_order_id
from telemetry.settings import INTERCEPTORS
from tests.support import RedisServer
from tests.support.shop import Shop, open_shop

PLAIN = {"Content-Type": "application/json"}
BY_THE_ROUTE = {"Content-Type": "application/json; charset=utf-8"}  # which is as good, and not plain
PER_ANSWER = {"order_id", "accepted_at", "expires_at", "queue_position", "trace_id"}
ORDER = {"product_id": "lamp", "user_id": "ada", "quantity": 1}


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API with ten lamps, no sofa, a desk that is not for sale yet and a chair a head."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        await shop.put("sofa", stock=0)
        await shop.put("desk", opens_at="2100-01-01T00:00:00Z")
        await shop.put("chair", per_user_limit=1)
        yield shop


async def send(shop: Shop, headers: Mapping[str, str], key: str | None = None, **changes: Any) -> httpx.Response:
    """Send an order with exactly these headers."""
    body = json.dumps({**ORDER, **changes})
    given = {"Idempotency-Key": key} if key else {}
    return await shop.client.post("/orders", content=body, headers={**headers, **given})


def face(answer: httpx.Response) -> tuple[int, set[str], dict[str, Any]]:
    """Return what two answers to two orders have in common when they say the same."""
    body = {name: value for name, value in answer.json().items() if name not in PER_ANSWER}
    assert "location" not in answer.headers or answer.headers["location"] == f"/orders/{answer.json()['order_id']}"
    return answer.status_code, set(answer.headers), {**body, "of": sorted(answer.json())}


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (202, {}),
        (202, {"quantity": 3, "user_id": "a.b:c@d|e+f=g-h_i"}),
        (404, {"product_id": "nowhere"}),
        (409, {"product_id": "sofa"}),
        (409, {"product_id": "desk"}),
        (409, {"product_id": "chair", "quantity": 2}),
        (409, {"quantity": 1000}),
        (422, {"quantity": 0}),
        (422, {"colour": "red"}),
        (422, {"user_id": None}),
    ],
)
async def test_both_ways_say_the_same(shop: Shop, status: int, changes: dict[str, Any]) -> None:
    """Status, headers and body, but for the order's own id and times."""
    short, long = await send(shop, PLAIN, **changes), await send(shop, BY_THE_ROUTE, **changes)
    assert face(short) == face(long)
    assert short.status_code == status


@pytest.mark.parametrize("first", [PLAIN, BY_THE_ROUTE], ids=["short", "route"])
async def test_a_key_means_the_same_on_both_ways(shop: Shop, first: Mapping[str, str]) -> None:
    """An order placed on the one is replayed on the other, and a second request under its key is a conflict."""
    placed = await send(shop, first, "k-1")
    again = [await send(shop, headers, "k-1") for headers in (PLAIN, BY_THE_ROUTE)]
    other = [await send(shop, headers, "k-1", quantity=2) for headers in (PLAIN, BY_THE_ROUTE)]
    assert [(answer.status_code, answer.json()) for answer in again] == 2 * [(200, placed.json())]
    assert [answer.headers["idempotency-replayed"] for answer in again] == 2 * ["true"]
    assert [answer.json()["code"] for answer in other] == 2 * ["idempotency_conflict"]


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_both_ways_are_one_route_to_the_telemetry(valkey_server: RedisServer, interceptor: Any) -> None:
    """One series, one name of a span; and a refusal is counted once."""
    async with open_shop(valkey_server.url, interceptor=interceptor) as shop:
        await shop.put()
        before = await shop.rejections(reason="unknown_product")
        for headers in (PLAIN, BY_THE_ROUTE):
            for product in ("lamp", "nowhere"):
                await send(shop, headers, product_id=product)
        names = [span.name for span in shop.seen.spans() if span.name.startswith("POST")]
        label = {"http_route": "/orders", "http_request_method": "POST"}
        for status in ("202", "404"):
            count = "http_server_request_duration_seconds_count"
            assert shop.seen.value(count, http_response_status_code=status, **label) == 2
        assert names == 4 * ["POST /orders"]
        assert await shop.rejections(reason="unknown_product") == before + 2


async def test_a_plain_order_meets_nothing_else_and_the_rest_arrives_untouched(shop: Shop) -> None:
    """The layer inside is not called for the one, and reads the whole body of the other."""
    arrived: list[bytes] = []

    async def inside(_: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        arrived.append(body)
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    crash = ErrorHandlers(lambda *_: None).crash
    layer = OrderFastPathMiddleware(inside, shop.service, lambda *_: None, crash)
    transport = httpx.ASGITransport(layer)
    odd = [
        ("POST", "/orders", PLAIN, b"{"),
        ("POST", "/orders", PLAIN, b'{"product_id":"lamp","product_id":"lamp","user_id":"ada","quantity":1}'),
        ("POST", "/orders", PLAIN, b'{"product_id":"lamp","quantity":1}'),
        ("POST", "/orders", {**PLAIN, "Idempotency-Key": "a b"}, json.dumps(ORDER).encode()),
        ("POST", "/orders", BY_THE_ROUTE, json.dumps(ORDER).encode()),
        ("POST", "/orders", PLAIN, json.dumps(ORDER).encode() + MAX_BYTES * b" "),
        ("POST", "/orders/", PLAIN, json.dumps(ORDER).encode()),
        ("PUT", "/orders", PLAIN, json.dumps(ORDER).encode()),
    ]
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        assert (await client.post("/orders", content=json.dumps(ORDER), headers=PLAIN)).status_code == 202
        assert arrived == []
        for method, path, headers, body in odd:
            answer = await client.request(method, path, content=body, headers=headers)
            assert (answer.status_code, arrived.pop()) == (299, body)


async def test_a_body_in_pieces_arrives_whole(shop: Shop) -> None:
    """Without a length it is the route's; the answer is the same."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"product_id":"la', b'mp","user_id":"ada",', b'"quantity":1}'):
            yield piece

    answer = await shop.client.post("/orders", content=pieces(), headers=PLAIN)
    assert (answer.status_code, answer.json()["product_id"]) == (202, "lamp")


@pytest.mark.parametrize(
    "lengths", ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
)
async def test_a_declared_length_cannot_hide_a_longer_body(shop: Shop, lengths: str) -> None:
    """The server refuses a request that says both, so what is declared is what comes."""
    reader, writer = await asyncio.open_connection(*shop.url.removeprefix("http://").split(":"))
    head = f"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{lengths}\r\n\r\n"
    writer.write(head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (70_000, b" " * 70_000))
    assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_what_nobody_expected_is_answered_alike(shop: Shop) -> None:
    """A store that says what it never says is a crash on both ways: 500, with one failure each in the windows."""
    text = "return redis.error_reply('ERR of no kind that is known')"
    shop.service.shards.scripts = {**shop.service.shards.scripts, "place": text}
    shop.service.shards._digests["place"] = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - as the store names it
    short, long = await send(shop, PLAIN), await send(shop, BY_THE_ROUTE)
    assert face(short) == face(long)
    assert (short.status_code, short.json()["code"]) == (500, "internal_error")
    crashed = [span for span in shop.seen.spans() if span.name == "POST /orders" and span.events]
    assert len(crashed) == 2


@pytest.mark.parametrize("user_id", ["ada", 'a "quoted" \\ name', "Zoë", "a\u2028b", "tab\t", "x" * 128])
@pytest.mark.parametrize("wait", [0.0, 0.001, 12.5, 1e9 + 0.25])
def test_the_answer_is_what_the_model_says(user_id: str, wait: float) -> None:
    """To the byte, but for how characters are escaped, whoever the user is: a replayed order may be of another time."""
    new = NewOrder(order_id=new_order_id(0), product_id="lamp", user_id=user_id, quantity=2)
    order = Order.accepted(new, 1_795_000_000_123, 1_795_000_900_000, 7, int(wait * 1000), 490, "EUR")
    assert json.loads(accepted_json(order)) == json.loads(OrderAccepted.of(order).model_dump_json())
    assert list(json.loads(accepted_json(order))) == list(OrderAccepted.model_fields)


def test_no_two_ids_share_their_random_bits() -> None:
    """Over many draws from the system."""
    bits = RandomBits()
    drawn = [bits.next() for _ in range(1000)]
    assert len(set(drawn)) == 1000
    assert all(re.fullmatch(ORDER_ID, new_order_id(3, each)) for each in drawn)
    assert all(new_order_id(3, each).endswith(each) for each in drawn)
