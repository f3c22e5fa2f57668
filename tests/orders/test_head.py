"""`HEAD` wherever `GET` is: the same status and headers, and no body (RFC 9110, 9.1 and 9.3.2)."""

import asyncio

import httpx
import pytest

from service.processes.worker_app import create_worker_app
from telemetry.settings import Interceptor
from tests.support import RedisServer
from tests.support.http import http_client
from tests.support.shop import Shop, open_shop

UNKNOWN = "01" * 15
VARIES = {"date", "traceparent", "transfer-encoding"}
INTERCEPTORS: tuple[Interceptor, ...] = ("contrib", "native")


async def paths(shop: Shop) -> list[str]:
    """Return an address of every resource that can be read, of those that are documented and of the pages."""
    document = (await shop.client.get("/openapi.json")).json()
    templates = [path for path, operations in document["paths"].items() if "get" in operations]
    assert len(templates) >= 12
    order = (await shop.order()).json()["order_id"]
    found = [path.format(product_id="lamp", order_id=order, fault="oversell") for path in templates]
    return [*found, "/", "/shop", "/openapi.json", "/orders?user_id=ada", f"/orders/{UNKNOWN}", "/inventory/vase"]


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_head_is_get_without_its_body(valkey_server: RedisServer, interceptor: Interceptor) -> None:
    """Of whatever can be read, found or not; what is measured says HEAD."""
    async with open_shop(valkey_server.url, interceptor=interceptor) as shop:
        await shop.put()
        for path in await paths(shop):
            async with shop.client.stream("GET", path) as read:  # whose body may not end, as that of events
                head = await shop.client.head(path)
            assert (head.status_code, head.content) == (read.status_code, b""), path
            assert {*head.headers} - VARIES == {*read.headers} - VARIES, path
            for name in ("content-type", "etag", "cache-control", "allow"):
                assert head.headers.get(name) == read.headers.get(name), (path, name)
        text = (await shop.client.get("/metrics")).text
        measured = [line for line in text.splitlines() if 'http_request_method="HEAD"' in line]
        assert any('http_route="/inventory/{product_id}"' in line for line in measured)


async def test_a_connection_goes_on_after_a_head(valkey_server: RedisServer) -> None:
    """A body that was sent all the same would be read as the next answer."""
    async with open_shop(valkey_server.url) as shop, http_client(shop.url) as client:
        for _ in range(3):
            assert (await client.head("/inventory")).status_code == httpx.codes.OK
            assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_what_cannot_be_read_takes_no_head(valkey_server: RedisServer) -> None:
    """`Allow` names HEAD where GET is, and only there; the document lists no HEAD."""
    async with open_shop(valkey_server.url) as shop:
        head = await shop.client.head("/monitoring/metrics/clear")
        assert (head.status_code, head.headers["allow"], head.content) == (405, "POST", b"")
        other = await shop.client.post("/inventory/lamp")
        assert (other.status_code, other.headers["allow"]) == (405, "DELETE, GET, HEAD, PATCH, PUT")
        document = (await shop.client.get("/openapi.json")).json()
        assert not [path for path, operations in document["paths"].items() if "head" in operations]


async def test_a_worker_answers_head_too(valkey_server: RedisServer) -> None:
    """Probes ask it."""
    async with open_shop(valkey_server.url) as shop:
        app = create_worker_app(shop.seen.telemetry, shop.service.writes, asyncio.Event())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker") as client:
            for path in ("/healthz", "/readyz", "/metrics"):
                head = await client.head(path)
                assert (head.status_code, head.content) == (200, b""), path
