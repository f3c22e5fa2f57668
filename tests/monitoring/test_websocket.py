"""`WS /monitoring` of one API process: what is sent, how a session ends, what it leaves behind."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime

import pytest
from jsonschema import Draft202012Validator
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from service.monitoring.messages import document, schema
from telemetry.settings import INTERCEPTORS, Interceptor
from tests.conftest import MakeServer
from tests.monitoring.watchers import TIMEOUT_SECONDS, read, upgrade, watch
from tests.support import RedisServer, wait_until
from tests.support.processes import ROOT
from tests.support.shop import Shop, open_shop


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without order workers, with ten lamps on sale."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop


async def several(client: ClientConnection, number: int) -> list[str]:
    """Return the next so many messages as they came."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return [str(await client.recv()) for _ in range(number)]


async def closed(client: ClientConnection) -> int | None:
    """Read until the end and return the code that the server gave."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with suppress(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code


async def test_a_snapshot_a_second_says_what_the_json_says(shop: Shop) -> None:
    await shop.order(quantity=3)
    async with watch(shop) as client:
        messages = [await read(client) for _ in range(3)]
        body = (await shop.client.get("/monitoring/metrics")).json()
    assert [message["type"] for message in messages] == ["snapshot"] * 3
    assert messages[0]["seq"] < messages[1]["seq"] < messages[2]["seq"]
    assert messages[2].keys() == body.keys()
    for part in ("orders", "rejections", "products"):
        assert messages[2][part] == body[part], part
    assert messages[2]["queue"]["length"] == 1
    assert messages[2]["dropped"] == 0
    assert 0 <= messages[2]["snapshot_age_seconds"] < 3
    taken = [datetime.fromisoformat(message["timestamp"]) for message in messages]
    assert taken[0] < taken[1] < taken[2] <= datetime.now(UTC)


async def test_the_schema_refuses_what_is_not_a_message() -> None:
    """So that the other tests, which check every message with it, can fail."""
    check = Draft202012Validator(schema())
    assert not check.is_valid({"type": "snapshot"})
    assert not check.is_valid({"type": "unavailable", "code": "nonsense", "timestamp": "", "snapshot_age_seconds": 1})


async def test_one_picture_is_made_for_all(shop: Shop, valkey_server: RedisServer) -> None:
    """Every client gets the same text, the store is asked once a second for all of them, and for nobody never."""

    def scripts() -> int:
        with valkey_server.sync_client() as client:
            calls: int = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            return calls

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(watch(shop)) for _ in range(50)]
        assert len(shop.service.broadcast) == 50
        before, began = scripts(), time.monotonic()
        seen = await asyncio.gather(*(several(client, 5) for client in clients))
        spent, seconds = scripts() - before, time.monotonic() - began
    texts = {text for read in seen for text in read}
    assert len(texts) == len({json.loads(text)["seq"] for text in texts}) <= 8
    assert spent <= 9 * (seconds + 2)
    await wait_until(lambda: len(shop.service.broadcast) == 0, TIMEOUT_SECONDS, "all are gone")
    made = shop.service.broadcast.built
    reading = shop.service.poller.readings
    await wait_until(lambda: shop.service.poller.readings > reading + 2, TIMEOUT_SECONDS, "the ledger is read on")
    assert shop.service.broadcast.built <= made + 1


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_a_session_is_one_span_with_its_counts(valkey_server: RedisServer, interceptor: Interceptor) -> None:
    async with open_shop(valkey_server.url, interceptor=interceptor) as shop:
        async with watch(shop) as client:
            for _ in range(3):
                await read(client)
            assert shop.seen.value("flash_sale_websocket_connections") == 1
        await wait_until(
            lambda: any(span.name.startswith("WS") for span in shop.seen.spans()), TIMEOUT_SECONDS, "a span"
        )
        assert shop.seen.value("flash_sale_websocket_connections") == 0
        sent = shop.seen.value("flash_sale_websocket_frames_total", result="sent")
        assert sent is not None
        assert sent >= 3
        assert shop.seen.value("flash_sale_websocket_frames_total", result="dropped") == 0
        (session,) = [span for span in shop.seen.spans() if span.name.startswith("WS")]
        assert session.name == "WS /monitoring"
        assert session.status.is_unset
        assert session.attributes is not None
        assert session.attributes["flash_sale.websocket.frames_sent"] == sent
        assert session.attributes["flash_sale.websocket.frames_dropped"] == 0
        assert session.attributes["flash_sale.websocket.close_code"] == 1000
        inside = [span for span in shop.seen.spans() if span.context.trace_id == session.context.trace_id]
        assert inside == [session]
        durations = [dict(has) for name, has in shop.seen.metrics() if name.startswith("http_server_request_duration")]
        assert not [has for has in durations if has.get("http_route") == "/monitoring"], "a session is no request"


async def test_a_long_message_ends_the_session_with_1009(shop: Shop) -> None:
    async with watch(shop) as client:
        await client.send("x" * 1024)
        assert (await read(client))["type"] == "snapshot"
        await client.send("x" * 1025)
        assert await closed(client) == 1009
    await wait_until(lambda: len(shop.service.broadcast) == 0, TIMEOUT_SECONDS, "it is gone")


async def test_a_client_that_does_not_stop_talking_is_closed_with_1008(shop: Shop) -> None:
    async with watch(shop) as client:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            with suppress(ConnectionClosed):
                while True:
                    await client.send("hello?")
                    await asyncio.sleep(0)  # the server shares this loop, and a send that fits into a buffer keeps it
        assert client.close_code == 1008
    await wait_until(lambda: len(shop.service.broadcast) == 0, TIMEOUT_SECONDS, "it is gone")


async def test_pings_are_answered(shop: Shop) -> None:
    async with watch(shop) as client:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await (await client.ping())
        assert (await read(client))["type"] == "snapshot"


async def test_a_client_that_does_not_answer_pings_is_disconnected(valkey_server: RedisServer) -> None:
    """It reads nothing, so it does not see the ping; what it was sent fits into the buffers of the kernel."""
    async with open_shop(valkey_server.url, monitoring_ping_seconds=0.5) as shop:
        async with watch(shop) as good:
            async with upgrade(shop, "Host: x") as status:
                assert status == 101
                await wait_until(lambda: len(shop.service.broadcast) == 2, TIMEOUT_SECONDS, "it watches")
                await wait_until(lambda: len(shop.service.broadcast) == 1, TIMEOUT_SECONDS, "it is gone")
            for _ in range(3):
                await read(good)
        await wait_until(lambda: len(shop.service.broadcast) == 0, TIMEOUT_SECONDS, "the other has gone by itself")


async def test_while_the_store_is_away_it_says_so(make_server: MakeServer) -> None:
    """No old figures; the session goes on, and so do the figures when the store is back."""
    server = make_server("valkey", aof=True)
    async with open_shop(server.url) as shop:
        await shop.put()
        async with watch(shop) as client:
            assert (await read(client))["type"] == "snapshot"
            server.kill9()
            while (message := await read(client))["type"] == "snapshot":
                assert message["snapshot_age_seconds"] < 4
            assert message["code"] == "store_unavailable"
            server.restart()
            while (message := await read(client))["type"] == "unavailable":
                pass
            assert message["products"][0]["product_id"] == "lamp"


async def test_text_arrives_as_it_is(shop: Shop) -> None:
    """Markup, quotes and the separators that end a line in JavaScript are nothing special in JSON."""
    name = "<script>alert('x')</script> \"q\" \\ \u2028\u2029 \U0001f9e8 " + "long" * 20
    await shop.put("odd", name=name)
    async with watch(shop) as client:
        message = await read(client)
        while all(product["product_id"] != "odd" for product in message["products"]):
            message = await read(client)
    assert next(product["name"] for product in message["products"] if product["product_id"] == "odd") == name


def test_the_schema_in_the_documentation_is_that_of_the_models() -> None:
    """`make docs` writes it."""
    assert (ROOT / "docs/monitoring.schema.json").read_text() == document()
