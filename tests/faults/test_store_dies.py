"""The store is killed in mid-sale and comes back: nothing that was answered is lost, and nobody hangs meanwhile."""

import asyncio
import signal
from pathlib import Path
from time import perf_counter

import httpx
import pytest

from service.store.server_process import socket_path
from tests.conftest import MakeServer
from tests.faults.conftest import Paid
from tests.faults.kit import (
    PRODUCT,
    Auditor,
    Load,
    assert_kept,
    assert_paid_once,
    crowd_plan,
    fleet,
    put_product,
    sale,
    statuses,
)
from tests.support import wait_until
from tests.support.http import http_client
from tests.support.processes import alive, send_signal
from tests.support.stores import Kind

KILLS = 2
PROBES = 10


async def probe(url: str) -> None:
    """Place orders while the store is down: each gets 503 with `Retry-After`, in less than a second."""

    async def post(client: httpx.AsyncClient, number: int) -> tuple[httpx.Response, float]:
        began = perf_counter()
        answer = await client.post("/orders", json={"product_id": PRODUCT, "user_id": f"p{number}", "quantity": 1})
        return answer, perf_counter() - began

    async with http_client(url, timeout=15) as client:
        answers = await asyncio.gather(*(post(client, number) for number in range(PROBES)))
        ready = await client.get("/readyz")
    assert {(answer.status_code, answer.json()["code"]) for answer, _ in answers} == {(503, "store_unavailable")}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer, _ in answers)
    assert max(seconds for _, seconds in answers) < 1
    assert ready.status_code == 503


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_kill_9_of_the_store(make_server: MakeServer, kind: Kind, paid: Paid, seed: int) -> None:
    """No accepted order is lost or settled twice; API and workers go on by themselves when it is back."""
    bank, env = paid
    bank.held = 0.3
    store = make_server(kind, aof=True)
    async with (
        Auditor.of(store.url) as auditor,
        sale(store.url, api=2, workers=2, env=env | {"WORKER_SILENCE_SECONDS": "1"}) as (api, workers),
    ):
        await put_product(api.url, stock=1_000_000)
        pids = [api.pid("api-0"), api.pid("api-1"), workers.pid("order-0"), workers.pid("order-1")]
        async with Load(crowd_plan(api.url, seed, rate=150)) as load:
            for _ in range(KILLS):
                await load.more(100)
                store.kill9()
                await probe(api.url)
                await asyncio.to_thread(store.start)
            await load.more(100)
        dump = await auditor.at_rest()
        assert_kept(dump, load.report)
        assert statuses(dump).keys() == {"confirmed"}
        assert_paid_once(bank, dump)
        assert load.report.unknown > 0, "no kill was felt by a client"
        assert all(map(alive, pids)), "a process ended because the store did"


async def test_the_embedded_store_is_started_again(tmp_path: Path, seed: int) -> None:
    """`flash-sale run` brings back its own store, with every order that was accepted."""
    async with fleet(tmp_path, command="run", api=2) as sale, Auditor.of(f"unix://{socket_path(tmp_path)}") as auditor:
        await put_product(sale.url, stock=1_000_000)
        async with Load(crowd_plan(sale.url, seed, rate=150)) as load:
            for _ in range(KILLS):
                await load.more(100)
                send_signal(int((await auditor.client.info("server"))["process_id"]), signal.SIGKILL)
            await load.more(100)
        dump = await auditor.at_rest()
        assert_kept(dump, load.report)
        assert statuses(dump).keys() == {"confirmed"}


async def test_a_run_that_was_ended_goes_on_where_it_was(tmp_path: Path, seed: int) -> None:
    """SIGTERM in mid-sale, and again `flash-sale run` on the same directory: every order is there and settled."""
    async with fleet(tmp_path, command="run") as sale:
        await put_product(sale.url, stock=1_000_000)
        async with Load(crowd_plan(sale.url, seed, rate=150)) as load:
            await load.more(200)
            assert await asyncio.to_thread(sale.terminate) == 0
    async with fleet(tmp_path, command="run") as again, Auditor.of(f"unix://{socket_path(tmp_path)}") as auditor:
        dump = await auditor.at_rest()
        assert_kept(dump, load.report)
        assert statuses(dump).keys() == {"confirmed"}
        order_id = next(iter(load.report.order_ids))
        async with http_client(again.url) as client:
            await wait_until(lambda: client.get("/readyz"), 10)
            assert (await client.get(f"/orders/{order_id}")).json()["status"] == "confirmed"
