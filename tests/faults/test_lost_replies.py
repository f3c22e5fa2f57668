"""The store did what it was asked, and the answer was lost: the client connects anew and asks again, unseen by all."""

import asyncio
import hashlib

import pytest

from service.ledger.ledger import ledger_scripts
from tests.faults.conftest import Paid
from tests.faults.kit import Auditor, assert_paid_once, buy, fleet, put_product, statuses
from tests.faults.proxy import Proxy
from tests.support import RedisServer, wait_until

ORDERS = 20


def needle(call: str) -> bytes:
    """What a call of that name has in it on the wire."""
    scripts = ledger_scripts()
    return (
        hashlib.sha1(scripts[call].encode(), usedforsecurity=False).hexdigest().encode()
        if call in scripts
        else call.encode()
    )


@pytest.mark.parametrize("call", ["XREADGROUP", "begin", "settle", "place"])
async def test_a_lost_reply_loses_no_order(durable: RedisServer, auditor: Auditor, paid: Paid, call: str) -> None:
    """Each order is confirmed at its first attempt and paid once, and none waits for a worker that has it already."""
    bank, env = paid
    async with (
        Proxy.before(durable.url) as proxy,
        fleet(proxy.url, command="api") as api,
        fleet(proxy.url, command="worker", env=env | {"WORKER_SILENCE_SECONDS": "1"}),
    ):
        await put_product(api.url, stock=1_000)
        proxy.lose(needle(call))
        await buy(api.url, ORDERS)
        dump = await auditor.at_rest(15)
        assert proxy.lost == 1
        assert statuses(dump) == {"confirmed": ORDERS}
        assert {order.attempts for order in dump.orders.values()} == {1}
        assert_paid_once(bank, dump)


async def test_a_lost_takeover_is_found(durable: RedisServer, auditor: Auditor, paid: Paid) -> None:
    """Orders of a killed worker that were given to another one, which did not hear of it."""
    bank, env = paid
    env |= {"WORKER_SILENCE_SECONDS": "0.5", "PAYMENT_TIMEOUT_SECONDS": "60", "PAYMENT_ATTEMPTS": "1"}
    bank.gate.clear()
    async with (
        Proxy.before(durable.url) as proxy,
        fleet(durable.url, command="api") as api,
        fleet(durable.url, command="worker", env=env) as dead,
    ):
        await put_product(api.url, stock=1_000)
        await buy(api.url, ORDERS)
        await wait_until(lambda: bank.waiting == ORDERS, 15, "all are begun")
        async with fleet(proxy.url, command="worker", env=env):
            await wait_until(lambda: proxy.reads >= 3, 10, "the other worker knows that it has nothing")
            proxy.lose(needle("reclaim"))
            await asyncio.to_thread(dead.program.kill9)
            await wait_until(lambda: proxy.lost == 1, 10, "the orders are taken over")
            bank.gate.set()
            dump = await auditor.at_rest(15)
        assert statuses(dump) == {"confirmed": ORDERS}
        assert_paid_once(bank, dump)
