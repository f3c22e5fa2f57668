"""`/asyncapi.json` is true: every stream of the service is in it, and all that is received is as it says."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from websockets.asyncio.client import connect

from service.api.asyncapi import document
from service.settings import JwtSettings, Settings
from tests.conftest import MakeServer
from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop

STREAM = "text/event-stream"
SSE = {**ADMIN, "Accept": STREAM}


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without order workers, with ten lamps on sale."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop


async def described(shop: Shop) -> dict[str, Any]:
    """Return the document that the service serves."""
    found: dict[str, Any] = (await shop.client.get("/asyncapi.json")).json()
    return found


def check(document: dict[str, Any], channel: str, message: str, fields: dict[str, str], payload: Any) -> None:
    """Hold what was received against its message in the document: all that it has, and nothing else."""
    told = document["channels"][channel]["messages"][message]
    schemas = {"components": document["components"]}
    Draft202012Validator(told["payload"] | schemas).validate(payload)
    Draft202012Validator(told.get("headers", {}) | schemas).validate(fields)
    assert fields.keys() == told.get("headers", {"properties": {}})["properties"].keys()
    schema = document["components"]["schemas"][told["payload"]["$ref"].rpartition("/")[2]]
    assert set(schema["required"]) <= payload.keys() <= schema["properties"].keys()


async def first_event(shop: Shop, path: str) -> tuple[dict[str, str], Any]:
    """Return the first message of a stream: its fields beside `data`, and that."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(20), shop.client.stream("GET", path, headers=SSE) as answer:
        assert answer.headers["content-type"].partition(";")[0] == STREAM
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                break
    fields.pop("retry", None)
    return fields, json.loads(fields.pop("data"))


async def test_what_is_received_is_as_described(shop: Shop) -> None:
    """A snapshot, a change of an order, an order that is followed."""
    found = await described(shop)
    order_id = (await shop.order(reference="basket-1")).json()["order_id"]
    async with connect(f"{shop.url.replace('http', 'ws', 1)}/monitoring") as watcher, asyncio.timeout(20):
        snapshot = json.loads(await watcher.recv())
    check(found, "monitoring", "snapshot", {}, snapshot)
    check(found, "events", "orderEvent", *await first_event(shop, "/events"))
    fields, order = await first_event(shop, f"/orders/{order_id}/events")
    check(found, "order", "order", fields, order)
    with pytest.raises(AssertionError):
        check(found, "order", "order", fields, order | {"more": 1})


async def test_what_comes_while_the_store_is_away_is_as_described(make_server: MakeServer) -> None:
    """The other kind of message of the WebSocket."""
    server = make_server("valkey")
    async with (
        open_shop(server.url) as shop,
        connect(f"{shop.url.replace('http', 'ws', 1)}/monitoring") as watcher,
        asyncio.timeout(30),
    ):
        found = await described(shop)
        server.kill9()
        while (message := json.loads(await watcher.recv()))["type"] == "snapshot":
            pass
        check(found, "monitoring", "unavailable", {}, message)


async def test_every_stream_is_described(shop: Shop) -> None:
    """Whatever answers with server-sent events by OpenAPI's document, and the WebSocket; and no more."""
    paths = (await shop.client.get("/openapi.json")).json()["paths"]
    reads = {path: ways["get"]["responses"]["200"] for path, ways in paths.items() if "get" in ways}
    streams = {path for path, answer in reads.items() if STREAM in answer["content"]}
    assert {channel["address"] for channel in (await described(shop))["channels"].values()} == streams | {"/monitoring"}


@pytest.mark.parametrize(
    ("settings", "security"),
    [
        ({}, {"sendSnapshot": [], "sendOrderEvent": ["admin"], "sendOrder": []}),
        ({"monitoring_token": "w" * 32}, {"sendSnapshot": ["watcher"], "sendOrderEvent": ["admin"], "sendOrder": []}),
        (
            {"auth_jwt": JwtSettings(secret="s" * 32)},
            {"sendSnapshot": [], "sendOrderEvent": ["admin"], "sendOrder": ["shopper", "admin"]},
        ),
    ],
)
def test_who_must_show_a_token(settings: dict[str, Any], security: dict[str, list[str]]) -> None:
    """As this service is set, and under the prefix at which it is published."""
    made = document(Settings.model_validate({"root_path": "/sale", **settings}))
    told = {
        name: [scheme["$ref"].rpartition("/")[2] for scheme in operation["security"]]
        for name, operation in made["operations"].items()
    }
    assert told == security
    assert set(made["components"]["securitySchemes"]) == {name for names in security.values() for name in names}
    assert {server["pathname"] for server in made["servers"].values()} == {"/sale"}


async def test_only_reading_is_allowed(shop: Shop) -> None:
    """As of `/openapi.json`."""
    assert (await shop.client.head("/asyncapi.json")).status_code == httpx.codes.OK
    assert (await shop.client.post("/asyncapi.json")).status_code == httpx.codes.METHOD_NOT_ALLOWED
