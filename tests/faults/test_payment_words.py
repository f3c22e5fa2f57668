"""What a merchant and a shopper say with an order reaches the bank; what the shopper pays with reaches nobody else."""

import secrets

import httpx
from redis.asyncio import Redis

from tests.faults.conftest import Paid
from tests.faults.kit import PRODUCT, fleet, put_product
from tests.support import RedisServer, wait_until
from tests.support.service import ADMIN
from tests.telemetry.collector import Collector


async def holds(url: str, word: str) -> list[bytes]:
    """Return the keys of the store that hold a word; they are no text."""
    async with Redis.from_url(url) as client:
        await client.config_set("rdbcompression", "no")
        return [key async for key in client.scan_iter() if word.encode() in (await client.dump(key) or b"")]


async def test_the_bank_is_told_and_nobody_else(durable: RedisServer, paid: Paid) -> None:
    """Reference and token reach the bank; the token is in no answer, line, span or metric, nor in the store then."""
    bank, env = paid
    token, reference = f"tok-{secrets.token_hex(20)}", "=basket 4711"
    body = {"product_id": PRODUCT, "user_id": "ada", "quantity": 2, "reference": reference, "payment_token": token}
    with Collector() as collector:
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_TRACES_SAMPLER": "always_on"}
        async with fleet(durable.url, env=env | told) as api:
            await put_product(api.url, stock=100)
            async with httpx.AsyncClient(base_url=api.url) as client:
                bank.gate.clear()
                placed = await client.post("/orders", json=body, headers={"Idempotency-Key": "k"})
                again = await client.post("/orders", json=body, headers={"Idempotency-Key": "k"})
                differs = {**body, "payment_token": "x"}
                other = await client.post("/orders", json=differs, headers={"Idempotency-Key": "k"})
                assert [one.status_code for one in (placed, again, other)] == [202, 200, 422]
                wrong = await client.post("/orders", json={**body, "payment_token": token * 20})
                assert wrong.status_code == 422
                await wait_until(lambda: bank.waiting == 1, 30, "the bank is asked")
                assert await holds(durable.url, token)
                bank.gate.set()
                path = placed.headers["location"]

                async def confirmed() -> bool:
                    return '"confirmed"' in (await client.get(path)).text

                await wait_until(confirmed, 30, "it is paid")
                answers = [placed, again, other, wrong]
                answers += [await client.get(path, headers=ADMIN) for path in (path, "/orders", "/orders/export")]
                answers += [
                    await client.get(f"/{path}") for path in ("metrics", "monitoring/metrics", "monitoring/errors")
                ]
            (asked,) = bank.captured.values()
            assert (asked["reference"], asked["payment_token"]) == (reference, token)
            assert await holds(durable.url, token) == []
            assert answers[4].json()["reference"] == reference
            assert f"'{reference}" in answers[6].text, "no formula in a spreadsheet"
            said = "".join(answer.text for answer in answers) + api.log
    exported = f"{collector.spans()} {collector.logs()}"
    assert placed.json()["order_id"] in exported, "there are spans"
    assert token not in said
    assert token not in exported
