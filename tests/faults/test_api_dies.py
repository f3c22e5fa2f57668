"""API processes that are killed or told to end while orders come in."""

import asyncio
from time import perf_counter

from tests.faults.kit import (
    PRODUCT,
    SHUTDOWN_SECONDS,
    Auditor,
    Load,
    assert_kept,
    crowd_plan,
    fleet,
    metric,
    put_product,
    sale,
    statuses,
)
from tests.support import RedisServer, wait_until
from tests.support.http import http_client
from tests.support.processes import alive

KILLS = 4
UNDER_WAY = 20
HANG_SECONDS = 0.5


async def test_kill_9_of_api_processes_loses_no_order(durable: RedisServer, auditor: Auditor, seed: int) -> None:
    """What a client saw accepted is there and confirmed once; the supervisor brings each process back."""
    async with sale(durable.url, api=2) as (api, _):
        await put_product(api.url, stock=1_000_000)
        async with Load(crowd_plan(api.url, seed, rate=300, cancel_share=0.1)) as load:
            for number in range(KILLS):
                await load.more(100)
                role = f"api-{number % 2}"
                await asyncio.to_thread(api.wait_for_restart, role, api.kill(role))
            await load.more(100)
        dump = await auditor.at_rest()
        assert_kept(dump, load.report)
        assert statuses(dump).keys() <= {"confirmed", "cancelled"}
        assert load.report.errors.get("disconnected"), "no kill was felt by a client"


async def test_sigterm_of_the_api_answers_what_is_under_way(durable: RedisServer, auditor: Auditor) -> None:
    """Orders that wait for the store when SIGTERM comes are still accepted, answered and kept."""
    env = {"STORE_TIMEOUT_SECONDS": "10", "SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS)}
    async with fleet(durable.url, command="api", env=env) as api:
        await put_product(api.url, stock=1_000)
        host, port = api.url.removeprefix("http://").split(":")
        idle, writer = await asyncio.open_connection(host, int(port))
        durable.pause()
        async with http_client(api.url, timeout=15) as client:
            bodies = [{"product_id": PRODUCT, "user_id": f"u{n}", "quantity": 1} for n in range(UNDER_WAY)]
            posts = [asyncio.create_task(client.post("/orders", json=body)) for body in bodies]

            async def all_there() -> bool:
                active = await metric(api.url, "http_server_active_requests", "http_request_method")
                return active.get("POST", 0) >= UNDER_WAY

            await wait_until(all_there, 10, "all requests are under way")
            began = perf_counter()
            ending = asyncio.create_task(asyncio.to_thread(api.terminate))
            assert await asyncio.wait_for(idle.read(), 10) == b"", "an idle connection is closed: it has begun to end"
            await asyncio.sleep(HANG_SECONDS)  # the store takes its time
            durable.resume()
            answers = await asyncio.gather(*posts)
            status = await ending
        writer.close()
        assert (status, perf_counter() - began < 5) == (0, True)
        assert [answer.status_code for answer in answers] == [202] * UNDER_WAY
        assert {answer.json()["order_id"] for answer in answers} == (await auditor.dump()).orders.keys()


async def test_sigterm_of_the_api_under_load_is_quick_and_loses_nothing(
    durable: RedisServer, auditor: Auditor, seed: int
) -> None:
    """A crowd does not keep the API from ending within 5 s, and what it accepted is there."""
    async with fleet(durable.url, command="api", api=2) as api:
        await put_product(api.url, stock=1_000_000)
        async with Load(crowd_plan(api.url, seed, concurrency=64)) as load:
            await load.more(500)
            pids = [api.pid("api-0"), api.pid("api-1")]
            began = perf_counter()
            status = await asyncio.to_thread(api.terminate)
            seconds = perf_counter() - began
        assert (status, seconds < 5) == (0, True), seconds
        assert not any(map(alive, pids))
        assert_kept(await auditor.dump(), load.report)
