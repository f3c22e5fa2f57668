"""`GET /inventory` is polled by every shop page: a tag, a short life in caches, gzip."""

import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import PRODUCT, Shop, open_shop


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield a service with ten products."""
    async with open_shop(valkey_server.url) as shop:
        for number in range(10):
            await shop.client.put(f"/inventory/lamp-{number}", json=PRODUCT, headers=ADMIN)
        yield shop


async def raw(
    shop: Shop, encoding: str, *, method: str = "GET", etag: str | None = None
) -> tuple[httpx.Response, bytes]:
    """Return the answer and its body as it was sent."""
    headers = {"Accept-Encoding": encoding} | ({"If-None-Match": etag} if etag else {})
    async with shop.client.stream(method, "/inventory", headers=headers) as answer:
        return answer, b"".join([chunk async for chunk in answer.aiter_raw()])


async def test_what_is_known_costs_no_body_until_it_changes(shop: Shop) -> None:
    answer, body = await raw(shop, "identity")
    etag = answer.headers["etag"]
    assert answer.headers["cache-control"] == "public, max-age=1"
    assert len(json.loads(body)["products"]) == 10
    for known in (etag, f'"x", {etag}', etag.removeprefix("W/"), "*"):
        again, nothing = await raw(shop, "gzip", etag=known)
        assert (again.status_code, nothing, again.headers["etag"]) == (304, b"", etag)
        assert again.headers["cache-control"] == "public, max-age=1"
    for other in ('"x"', etag[:-2] + '"', "nonsense"):
        assert (await raw(shop, "identity", etag=other))[0].status_code == httpx.codes.OK
    order = {"product_id": "lamp-3", "user_id": "ada", "quantity": 1}
    assert (await shop.client.post("/orders", json=order)).status_code == httpx.codes.ACCEPTED
    changed, _ = await raw(shop, "identity", etag=etag)
    assert changed.status_code == httpx.codes.OK
    assert changed.headers["etag"] != etag


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("identity", False),
        ("br", False),
        ("", False),
    ],
)
async def test_it_is_compressed_for_whoever_takes_that(shop: Shop, encoding: str, *, compressed: bool) -> None:
    plain, body = await raw(shop, "identity")
    answer, sent = await raw(shop, encoding)
    assert answer.headers.get("content-encoding") == ("gzip" if compressed else None)
    assert (gzip.decompress(sent) if compressed else sent) == body
    assert (len(sent) < len(body) / 3) == compressed
    assert answer.headers["content-length"] == str(len(sent))
    assert answer.headers["etag"] == plain.headers["etag"]
    assert "accept-encoding" in answer.headers["vary"].lower()


async def test_a_head_says_the_same(shop: Shop) -> None:
    got, _ = await raw(shop, "gzip")
    head, body = await raw(shop, "gzip", method="HEAD")
    assert body == b""
    for name in ("etag", "cache-control", "content-encoding", "content-length", "vary"):
        assert head.headers[name] == got.headers[name]


async def test_two_that_differ_are_not_mixed_up(shop: Shop) -> None:
    """What was compressed for one is the next one's only while it is the same."""
    for stock in (5, 6, 5):
        await shop.client.put("/inventory/lamp-0", json=PRODUCT | {"stock": stock}, headers=ADMIN)
        _, sent = await raw(shop, "gzip")
        assert json.loads(gzip.decompress(sent))["products"][0]["stock"] == stock
