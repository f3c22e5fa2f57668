"""What does not belong into the store, or was taken out of it, harms one entry: it is set aside, told, and mended."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from service.ledger.audit import dump_ledger, violations
from service.ledger.order_table import LIVE
from tests.faults.conftest import Paid
from tests.faults.kit import PRODUCT, Auditor, buy, put_product, sale, statuses
from tests.support import RedisServer, wait_until
from tests.support.counts import compared, injected
from tests.support.http import http_client

PREFIX = "{fs:00}:"
QUEUE = PREFIX + "queue"
ORDERS = 10
SLOW = {"PAYMENT_LATENCY_SECONDS": "0.5", "WORKER_SILENCE_SECONDS": "0.5"}


async def at_rest(auditor: Auditor) -> dict[str, str]:
    """Wait until every order is settled; return what was set aside, the only thing that the audit may find."""

    async def settled() -> bool:
        try:
            orders = (await dump_ledger(auditor.shards)).orders.values()
        except ResponseError:  # the queue is of another type
            return False
        return not any(order.status in LIVE for order in orders)

    await wait_until(settled, 60, "every order is settled")
    dump = await dump_ledger(auditor.shards)
    assert [found for found in violations(dump) if found.invariant != "nothing_was_set_aside"] == []
    assert statuses(dump).keys() == {"confirmed"}
    compared(dump.orders.keys())
    return dump.damaged


async def delete(client: Redis) -> None:
    """Delete the queue, and its group with it."""
    await client.delete(QUEUE)


async def trim(client: Redis) -> None:
    """Trim the queue to nothing, as a hand that wants to save memory does."""
    await client.xtrim(QUEUE, maxlen=0, approximate=False)


async def retype(client: Redis) -> None:
    """Put something else in its place."""
    await client.set(QUEUE, "mine now")


@pytest.mark.parametrize("harm", [delete, trim, retype], ids=lambda harm: harm.__name__)
async def test_a_queue_that_somebody_took_away(
    durable: RedisServer, paid: Paid, harm: Callable[[Redis], Awaitable[None]]
) -> None:
    """Orders that were begun and orders that waited: each is put back, paid once and confirmed, with no restart."""
    bank, env = paid
    async with Auditor.of(durable.url) as auditor, sale(durable.url, env=env | SLOW) as (api, worker):
        await put_product(api.url, stock=1000)
        bank.gate.clear()
        await buy(api.url, ORDERS)
        await wait_until(lambda: bank.waiting == ORDERS, 30, "all are begun")
        worker.kill("order-0")
        injected()
        await harm(auditor.client)
        bank.gate.set()
        found = await at_rest(auditor)
        assert found, "it is told"
        assert sorted(bank.kept().values()) == [1] * ORDERS
        await buy(api.url, ORDERS)
        await at_rest(auditor)


async def test_entries_and_refunds_that_are_not_ours(durable: RedisServer, seed: int) -> None:
    """Each is set aside by itself; the orders beside it go on, and so do refunds."""
    async with Auditor.of(durable.url) as auditor, sale(durable.url) as (api, _):
        await put_product(api.url, stock=1000)
        await auditor.client.xadd(QUEUE, {"hello": "world"})
        await auditor.client.xadd(QUEUE, {b"\xff\xfe": b"\x00\xff", "o": b"\xff"})
        await auditor.client.xadd(QUEUE, {"o": "", "t": "\r\n" * 1000})
        await auditor.client.zadd(PREFIX + "refunds", {"00" + "a" * 28: 0, "": 0, "x" * 500: 0})
        injected(6)
        await buy(api.url, ORDERS)
        found = await at_rest(auditor)

        async def refunds() -> bool:
            return await auditor.no_refund_owed()

        await wait_until(refunds, 20, "refunds of nothing are set aside")
        found = await at_rest(auditor)
        assert sorted(what.partition(" ")[0] for what in found) == ["entry"] * 3 + ["refund"] * 3, seed

        async def counted() -> bool:
            async with http_client(api.url) as client:
                return "flash_sale_damaged_entries 6.0" in (await client.get("/metrics")).text

        await wait_until(counted, 10, "it is a metric")


async def test_a_store_that_was_emptied_is_not_clean(durable: RedisServer) -> None:
    """Every accepted order is gone: the audit says so, though an empty ledger adds up."""
    async with Auditor.of(durable.url) as auditor, sale(durable.url) as (api, _):
        await put_product(api.url, stock=1000)
        await buy(api.url, ORDERS)
        await at_rest(auditor)
        await auditor.client.flushall()
        injected()

        async def told() -> bool:
            return "store emptied" in (await dump_ledger(auditor.shards)).damaged

        await wait_until(told, 10, "the audit knows")
        await put_product(api.url, PRODUCT, stock=10)
        await asyncio.gather(buy(api.url, 3))
        await at_rest(auditor)
