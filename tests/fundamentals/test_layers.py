"""The layers around the routes stand in one list, in the order in which they are met."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.faults import Fault, FaultRule, Faults
from service.store import connect
from tests.support import RedisServer
from tests.support.shop import Shop, open_shop, problem

ORDER: dict[str, Any] = {"product_id": "lamp", "user_id": "ada", "quantity": 1}


@pytest.fixture
async def broken(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """A shop in which every request for orders crashes."""
    async with connect(valkey_server.url, name="faults", timeout_seconds=5) as client:
        faults = Faults(client, "api-0")
        async with open_shop(valkey_server.url, faults=faults) as shop:
            await shop.put()
            await faults.switch_on(Fault.API_ERRORS, FaultRule())
            yield shop
            await faults.switch_off(Fault.API_ERRORS)


async def test_the_list_is_the_order(broken: Shop, valkey_server: RedisServer) -> None:
    """The outermost first; the faults only where there are any."""
    names = [getattr(layer.cls, "__name__", "") for layer in broken.app.user_middleware]
    assert names == [
        "OrderFastPathMiddleware",
        "HeadMiddleware",
        "BodyLimitMiddleware",
        "CrashGuardMiddleware",
        "FaultInjectionMiddleware",
    ]
    async with open_shop(valkey_server.url) as shop:
        assert [getattr(layer.cls, "__name__", "") for layer in shop.app.user_middleware] == [
            name for name in names if name != "FaultInjectionMiddleware"
        ]


async def test_what_the_order_means(broken: Shop) -> None:
    """Too large is said before a fault strikes; a fault strikes the fast path too, and is answered like any crash."""
    large = await broken.client.post("/orders", content=b"x" * 70_000, headers={"Content-Type": "application/json"})
    problem(large, 413, "payload_too_large")
    for media_type in ("application/json", "application/json; charset=utf-8"):  # the fast path's, and the route's
        answer = await broken.client.post("/orders", content=json.dumps(ORDER), headers={"Content-Type": media_type})
        problem(answer, 500, "internal_error")
    crashed = [span for span in broken.seen.spans() if span.name == "POST /orders" and span.events]
    assert len(crashed) == 2
