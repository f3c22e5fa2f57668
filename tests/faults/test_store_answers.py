"""Whatever word a store refuses with, it is an outage and no mistake of ours, and it ends when the store does."""

import asyncio

import httpx
import pytest

from tests.conftest import MakeServer
from tests.faults.kit import PRODUCT, Auditor, fleet, put_product
from tests.faults.proxy import Proxy
from tests.support import RedisServer, wait_until
from tests.support.http import http_client
from tests.support.service import ADMIN

WORDS = {
    "OOM command not allowed": "out_of_memory",
    "MISCONF errors writing to disk": "cannot_persist",
    "LOADING the dataset": "loading",
    "BUSY running a script": "busy",
    "READONLY a replica": "read_only",
    "NOREPLICAS not enough": "no_replicas",
    "MASTERDOWN link is down": "master_down",
    "CLUSTERDOWN hash slot not served": "cluster_down",
    "TRYAGAIN multiple keys": "slot_moves",
    "MOVED 1 127.0.0.1:1": "another_node",
    "ASK 1 127.0.0.1:1": "slot_moves",
    "NOPERM no permissions to run": "access_refused",
    "NOAUTH authentication required": "access_refused",
    "WRONGTYPE another kind of value": "wrong_type",
    "DENIED running in protected mode": "refused",
    "TOMORROW a word of a version to come": "refused",
}


async def order(client: httpx.AsyncClient) -> httpx.Response:
    """Order a unit."""
    return await client.post("/orders", json={"product_id": PRODUCT, "user_id": "x", "quantity": 1})


async def ask_all(client: httpx.AsyncClient, order_id: str) -> set[tuple[int, str]]:
    """Ask what needs the store, all at once; return the statuses and codes."""
    admin = {**ADMIN, "Idempotency-Key": "k"}
    answers = await asyncio.gather(
        order(client),
        *(client.get(path) for path in (f"/orders/{order_id}", "/orders?user_id=x", "/inventory", "/orders/queue")),
        *(client.get(path, headers=ADMIN) for path in ("/orders", "/events", "/dead-letters")),
        client.post(f"/orders/{order_id}/cancel"),
        client.post(f"/orders/{order_id}/refund", json={}, headers=admin),
        client.post(f"/inventory/{PRODUCT}/restock", json={"quantity": 1}, headers=admin),
        client.patch(f"/inventory/{PRODUCT}", json={"paused": False}, headers=admin),
    )
    return {(answer.status_code, answer.json().get("code", "")) for answer in answers if answer.status_code >= 500}


@pytest.mark.timeout(180)
async def test_each_word_of_a_store_is_an_outage(durable: RedisServer, auditor: Auditor) -> None:
    """No route answers 500, readiness and health say why, and orders are taken at once when it is over."""
    async with (
        Proxy.before(durable.url) as proxy,
        fleet(proxy.url, command="api") as api,
        http_client(api.url) as client,
    ):
        await put_product(api.url, stock=1000)
        order_id = (await order(client)).json()["order_id"]
        for word, reason in WORDS.items():
            proxy.answer_steps(f"-{word}\r\n".encode())
            assert await ask_all(client, order_id) == {(503, "store_unavailable")}, word

            async def told(reason: str = reason) -> bool:
                ready = (await client.get("/readyz")).status_code
                health = (await client.get("/monitoring/health")).json()
                return (ready, health["store_reason"]) == (503, reason)

            await wait_until(told, 5, f"{word} is told as {reason}")
            proxy.answer_steps(b"")

            async def taken() -> bool:
                return (await order(client)).status_code == 202

            await wait_until(taken, 5, f"orders are taken after {word}")
        errors = [line for line in api.lines if line["level"] == "error"]
        assert errors == []
    await auditor.dump()


async def test_a_right_that_is_taken_away_while_it_sells(make_server: MakeServer) -> None:
    """By the store's administrator, and given back: no restart."""
    store = make_server("redis")
    with store.sync_client() as admin:
        admin.execute_command("ACL", "SETUSER", "shop", "on", ">pw", "~*", "&*", "+@all")
        url = store.url.replace("://", "://shop:pw@")
        async with fleet(url, command="api") as api, http_client(api.url) as client:
            await put_product(api.url, stock=1000)
            for rights in (("-evalsha", "-eval"), ("-hset", "-xadd", "-hincrby")):
                admin.execute_command("ACL", "SETUSER", "shop", *rights)
                answer = await order(client)
                assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), rights
                admin.execute_command("ACL", "SETUSER", "shop", "+@all")
                assert (await order(client)).status_code == 202
