"""The two big promises: never a unit more than there is, never two orders for one key."""

import asyncio
from collections import Counter

import httpx

from service.crowd import run_crowd
from service.ledger.orders import COUNTED, Status
from tests.faults.kit import (
    PRODUCT,
    Auditor,
    codes,
    crowd_plan,
    fleet,
    metric,
    posts_by_worker,
    put_product,
    sale,
    statuses,
)
from tests.support import RedisServer, wait_until
from tests.support.http import http_client

UNITS = 100
BUYERS = 10_000
REPEATS = 1_000


async def test_ten_thousand_buyers_get_the_hundred_units(durable: RedisServer, auditor: Auditor, seed: int) -> None:
    """Exactly 100 are confirmed and all others hear `sold_out`; ledger, metrics and clients say the same."""
    async with sale(durable.url, api=2) as (api, _):
        await put_product(api.url, stock=UNITS)
        report = await run_crowd(
            crowd_plan(
                api.url, seed, orders=BUYERS, users=BUYERS, concurrency=100, idempotency_share=0.0, retry_share=0.0
            )
        )
        assert codes(report) == {(202, "accepted"): UNITS, (409, "sold_out"): BUYERS - UNITS}
        assert report.errors == {}
        dump = await auditor.at_rest()
        product = dump.products[PRODUCT]
        assert (product.stock, product.held, product.sold) == (0, 0, UNITS)
        assert statuses(dump) == {"confirmed": UNITS}
        assert set(report.order_ids) == dump.orders.keys()
        reached = {Status.PENDING: UNITS, Status.CONFIRMED: UNITS}
        assert dump.snapshot.orders == dict.fromkeys(COUNTED, 0) | reached

        async def metrics_agree() -> bool:
            return await metric(api.url, "flash_sale_orders_total", "status") == dict(dump.snapshot.orders)

        await wait_until(metrics_agree, 10, "the metrics say what the ledger says")
        assert Counter(order.user_id for order in dump.orders.values()).most_common(1)[0][1] == 1


async def test_a_thousand_posts_with_one_key_are_one_order(durable: RedisServer, auditor: Auditor) -> None:
    """One 202; 999 times 200, marked as a replay, with the same body; over two processes at one time."""
    async with fleet(durable.url, command="api", api=2) as api:
        await put_product(api.url, stock=UNITS)
        body = {"product_id": PRODUCT, "user_id": "ada", "quantity": 2}
        limits = httpx.Limits(max_connections=REPEATS)
        headers = {"Idempotency-Key": "once"}
        clients = [http_client(api.url, headers=headers, limits=limits, timeout=60) for _ in range(20)]
        answers = await asyncio.gather(*(clients[n % 20].post("/orders", json=body) for n in range(REPEATS)))
        for client in clients:
            await client.aclose()
        seen = Counter((answer.status_code, answer.headers.get("Idempotency-Replayed")) for answer in answers)
        assert seen == {(202, None): 1, (200, "true"): REPEATS - 1}
        assert len({answer.text for answer in answers}) == 1
        assert sum((await posts_by_worker(api.url, 2)).values()) >= REPEATS
    dump = await auditor.dump()
    assert len(dump.orders) == 1
    assert dump.products[PRODUCT].held == 2
