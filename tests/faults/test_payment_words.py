"""What a merchant and a shopper say with an order reaches the bank; what the shopper pays with reaches nobody else."""

import secrets

import httpx
from redis.asyncio import Redis

from tests.faults.conftest import Paid
from tests.faults.kit import PRODUCT, fleet, put_product
from tests.support import RedisServer, wait_until
from tests.support.http import http_client
from tests.support.service import ADMIN
from tests.telemetry.collector import Collector


async def holds(url: str, word: str) -> list[bytes]:
    """Return the keys of the store that hold a word; they are no text."""
    async with Redis.from_url(url) as client:
        await client.config_set("rdbcompression", "no")
        return [key async for key in client.scan_iter() if word.encode() in (await client.dump(key) or b"")]


async def buy_with(client: httpx.AsyncClient, body: dict[str, object], token: str) -> list[httpx.Response]:
    """Place an order under a key, once more, and once with another token; and one whose token is too long."""
    key = {"Idempotency-Key": "k"}
    placed = await client.post("/orders", json=body, headers=key)
    again = await client.post("/orders", json=body, headers=key)
    other = await client.post("/orders", json={**body, "payment_token": "x"}, headers=key)
    wrong = await client.post("/orders", json={**body, "payment_token": token * 20})
    answers = [placed, again, other, wrong]
    assert [one.status_code for one in answers] == [202, 200, 422, 422]
    return answers


async def test_the_bank_is_told_and_nobody_else(durable: RedisServer, paid: Paid) -> None:
    """Reference and token reach the bank; the token is in no answer, line, span or metric, nor in the store then."""
    bank, env = paid
    token, reference = f"tok-{secrets.token_hex(20)}", "=basket 4711"
    body = {"product_id": PRODUCT, "user_id": "ada", "quantity": 2, "reference": reference, "payment_token": token}
    with Collector() as collector:
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_TRACES_SAMPLER": "always_on"}
        async with fleet(durable.url, env=env | told) as api, http_client(api.url) as client:
            await put_product(api.url, stock=100)
            bank.gate.clear()
            answers = await buy_with(client, body, token)
            await wait_until(lambda: bank.waiting == 1, 30, "the bank is asked")
            assert await holds(durable.url, token)
            bank.gate.set()
            path = answers[0].headers["location"]

            async def confirmed() -> bool:
                return '"confirmed"' in (await client.get(path)).text

            await wait_until(confirmed, 30, "it is paid")
            (asked,) = bank.captured.values()
            assert (asked["reference"], asked["payment_token"]) == (reference, token)
            assert await holds(durable.url, token) == []
            order, listed, exported = [await client.get(p, headers=ADMIN) for p in (path, "/orders", "/orders/export")]
            assert order.json()["reference"] == listed.json()["orders"][0]["reference"] == reference
            assert f"'{reference}" in exported.text, "no formula in a spreadsheet"
            pages = [await client.get(page) for page in ("/metrics", "/monitoring/metrics", "/monitoring/errors")]
            said = "".join(answer.text for answer in (*answers, order, listed, exported, *pages)) + api.log
        sent = f"{collector.spans()} {collector.logs()}"
    assert answers[0].json()["order_id"] in sent, "there are spans"
    assert token not in said
    assert token not in sent
