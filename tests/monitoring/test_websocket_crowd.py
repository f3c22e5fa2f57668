"""Hundreds of WebSockets on real processes: bounded memory, frames on time, a quiet store, a quick end, true totals."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from service.monitoring.messages import schema
from tests.monitoring.watchers import Watching, open_deaf
from tests.support import RedisServer, wait_until
from tests.support.service import ADMIN, Fleet

SOCKETS, DEAF = 500, 50
PRODUCTS = 150
MORE = 15
TIMEOUT_SECONDS = 60
MEGABYTE = 1024 * 1024


@pytest.fixture
def fleet(valkey_server: RedisServer) -> Iterator[Fleet]:
    """Yield one API process with many products of long names, so that a frame has some 50 kB."""
    env = {"MONITORING_PING_SECONDS": "600", "STORE_TIMEOUT_SECONDS": "10"}
    with Fleet(valkey_server.url, command="api", workers=0, env=env) as fleet:
        stock(fleet)
        yield fleet


def stock(fleet: Fleet) -> None:
    """Put the products on sale."""
    with fleet.client(headers=ADMIN) as client:
        for number in range(PRODUCTS):
            body = {"name": f"{number} " + "long " * 38, "price": 1, "currency": "EUR", "stock": 10}
            put = {**body, "per_user_limit": None, "opens_at": None, "closes_at": None}
            assert client.put(f"/inventory/lamp-{number}", json=put).status_code == httpx.codes.CREATED


@asynccontextmanager
async def crowd(fleet: Fleet, reading: int, deaf: int) -> AsyncIterator[list[Watching]]:
    """Open so many sockets; yields those that read."""
    async with AsyncExitStack() as opened:
        for _ in range(deaf):
            opened.enter_context(await open_deaf(fleet.url))
        clients = []
        for _ in range(reading):
            clients.append(await Watching.open(fleet.url))
            opened.push_async_callback(clients[-1].close)
        yield clients


async def metric(fleet: Fleet, name: str) -> float:
    """Return a series of the only API process."""
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
        text = (await client.get(f"{fleet.url}/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return float(line.rpartition(" ")[2])


def resident_bytes(pid: int) -> int:
    """Return the memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def calls(server: RedisServer) -> dict[str, int]:
    """Return how often the store ran each command that a client sends."""
    with server.sync_client() as client:
        stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}


async def scripts_a_second(server: RedisServer, clients: list[Watching]) -> float:
    """Return how many scripts a second the store runs over some frames."""
    before, began = calls(server).get("evalsha", 0), time.monotonic()
    frames = clients[0].frames
    await wait_until(lambda: clients[0].frames >= frames + 5, TIMEOUT_SECONDS, "frames arrive")
    return (calls(server)["evalsha"] - before) / (time.monotonic() - began)


async def test_five_hundred_watch_and_fifty_never_read(fleet: Fleet, valkey_server: RedisServer) -> None:
    """The others get every frame, the store has no more to do than for one, and memory stays where it is."""
    async with crowd(fleet, 1, 0) as clients:
        for_one = await scripts_a_second(valkey_server, clients)
    async with crowd(fleet, SOCKETS - DEAF, DEAF) as clients:
        pid = fleet.pid("api-0")
        await wait_until(lambda: min(client.frames for client in clients) >= 3, TIMEOUT_SECONDS, "all have frames")
        assert await metric(fleet, "flash_sale_websocket_connections") == SOCKETS
        assert await metric(fleet, "flash_sale_active_connections") >= SOCKETS
        for_all = await scripts_a_second(valkey_server, clients)
        await wait_until(lambda: lost(fleet), TIMEOUT_SECONDS, "the deaf ones lose frames")
        before = resident_bytes(pid)
        frames = [client.frames for client in clients]
        await wait_until(lambda: clients[0].frames >= frames[0] + MORE, TIMEOUT_SECONDS, f"{MORE} more frames")
        grown = resident_bytes(pid) - before
        size = len(str(clients[0].newest))
        assert size > 40_000
        assert grown < 12 * MEGABYTE, f"{DEAF} clients left {MORE * DEAF * size / MEGABYTE:.0f} MB unread"
        assert all(client.newest["dropped"] == 0 for client in clients)
        late = sorted(gap for client in clients for gap in client.gaps)
        assert late[int(len(late) * 0.95)] < 4, "frames come on time"
        since = [client.frames - before for client, before in zip(clients, frames, strict=True)]
        assert max(since) - min(since) <= 2, "nobody is left behind"
        assert for_all < for_one + 4, "however many watch"


async def lost(fleet: Fleet) -> bool:
    """Whether every deaf client has lost a frame."""
    return await metric(fleet, 'flash_sale_websocket_frames_total{result="dropped"') >= DEAF


async def test_a_client_that_reads_again_is_told_how_many_it_lost(fleet: Fleet) -> None:
    """It goes on with the newest, and the number stays in every message after."""
    name = 'flash_sale_websocket_frames_total{result="dropped"'
    client = await open_deaf(fleet.url)

    async def has_lost_three() -> bool:
        return await metric(fleet, name) >= 3

    await wait_until(has_lost_three, TIMEOUT_SECONDS, "it has lost some")
    late = await Watching.resumed(client)
    await wait_until(lambda: late.newest.get("dropped"), TIMEOUT_SECONDS, "it is told")
    frames = late.frames
    await wait_until(lambda: late.frames >= frames + 3, TIMEOUT_SECONDS, "it goes on")

    async def agrees() -> bool:
        return bool(late.newest["dropped"] == await metric(fleet, name))

    await wait_until(agrees, TIMEOUT_SECONDS, "the message says what the metric says")
    Draft202012Validator(schema()).validate(late.newest)
    await late.close()


async def test_with_all_of_them_open_the_process_ends_in_time(fleet: Fleet) -> None:
    """SIGTERM: those that read are told 1012, those that do not are cut, and nothing is left to be killed."""
    async with crowd(fleet, SOCKETS - DEAF, DEAF) as clients:
        await wait_until(lambda: min(client.frames for client in clients) >= 2, TIMEOUT_SECONDS, "all have frames")
        await wait_until(lambda: lost(fleet), TIMEOUT_SECONDS, "the deaf ones are full")
        began = time.monotonic()
        status = await asyncio.to_thread(fleet.terminate)
        assert status == 0
        assert time.monotonic() - began < 5
        await asyncio.gather(*(client.reading for client in clients))
        assert {client.close_code for client in clients} == {1012}
    assert "role killed" not in fleet.log


async def test_a_client_that_does_not_read_is_cut(valkey_server: RedisServer) -> None:
    """After the time that it has for a ping, although its last frame is stuck half way."""
    env = {"MONITORING_PING_SECONDS": "2", "STORE_TIMEOUT_SECONDS": "10"}
    with Fleet(valkey_server.url, command="api", workers=0, env=env) as fleet:
        stock(fleet)
        client = await open_deaf(fleet.url)
        await wait_until(lambda: nobody_watches(fleet), TIMEOUT_SECONDS, "it is cut")
        client.close()


async def test_a_client_that_pings_and_does_not_read_is_cut(fleet: Fleet) -> None:
    """Before its unread pongs fill the memory, long before its time is up."""
    before = resident_bytes(fleet.pid("api-0"))
    flood = b"\x89\xfd\x00\x00\x00\x00" + bytes(125)
    client = await open_deaf(fleet.url)

    async def send() -> None:
        while True:
            await asyncio.get_running_loop().sock_sendall(client, flood * 500)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send(), TIMEOUT_SECONDS)
    client.close()
    await wait_until(lambda: nobody_watches(fleet), TIMEOUT_SECONDS, "it is cut")
    assert resident_bytes(fleet.pid("api-0")) - before < 40 * MEGABYTE


async def nobody_watches(fleet: Fleet) -> bool:
    """Whether no WebSocket is left."""
    return await metric(fleet, "flash_sale_websocket_connections") == 0


def totals(message: dict[str, Any]) -> dict[str, Any]:
    """Return what must be the same everywhere."""
    return {part: message[part] for part in ("orders", "products", "rejections")}


async def test_two_replicas_of_two_processes_tell_the_same(valkey_server: RedisServer) -> None:
    """Within a tick or two after the last order, and what they tell is what the ledger holds."""
    with (
        Fleet(valkey_server.url, api=2, workers=2) as one,
        Fleet(valkey_server.url, command="api", api=2, workers=0) as two,
    ):
        clients = [await Watching.open(fleet.url) for fleet in (one, two) for _ in range(8)]
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as shopper:
            for n in range(60):
                body = {"product_id": "sticker-pack", "user_id": f"u{n}", "quantity": 0 if n % 10 == 0 else 1}
                await shopper.post(f"{(one, two)[n % 2].url}/orders", json=body)

            async def settled() -> dict[str, Any] | None:
                body: dict[str, Any] = (await shopper.get(f"{one.url}/monitoring/metrics")).json()
                done = body["orders"]["confirmed"] == 54 and body["rejections"]["invalid"] == 6
                return body if done else None

            ledger = totals(await wait_until(settled, TIMEOUT_SECONDS, "all are settled"))
            product = (await shopper.get(f"{two.url}/inventory/sticker-pack")).json()
        frames = [client.frames for client in clients]
        await wait_until(
            lambda: all(client.frames >= seen + 2 for client, seen in zip(clients, frames, strict=True)),
            TIMEOUT_SECONDS,
            "two ticks",
        )
        for client in clients:
            assert totals(client.newest) == ledger
        stickers = next(row for row in ledger["products"] if row["product_id"] == "sticker-pack")
        assert stickers.pop("state") == "open"
        assert [stickers.pop(name) for name in ("by_ticket", "tickets_given", "tickets_admitted")] == [False, 0, None]
        assert stickers == {name: product[name] for name in stickers}
        assert stickers["sold"] == 54
        for client in clients:
            await client.close()
