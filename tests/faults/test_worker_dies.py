"""Order workers that are killed, told to end, or stopped in their tracks while a payment is under way."""

import asyncio
import signal
from collections.abc import Iterable
from time import perf_counter

import httpx
import pytest

from service.orders.dead_letters import DeadLetters, Requeued
from service.orders.models import Status
from service.store import keys
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
    statuses,
)
from tests.support import RedisServer, wait_until
from tests.support.service import Fleet

KILLS = 5
SILENCE_SECONDS = 0.5
SLACK_SECONDS = 1.0
SHUTDOWN_SECONDS = 2
ORDERS = 30
PATIENT = {"PAYMENT_TIMEOUT_SECONDS": "30", "ORDER_RETRY_SECONDS": "0.1"}


async def buy(url: str, orders: int) -> list[str]:
    """Place orders of one unit by different users, and return their ids."""
    async with httpx.AsyncClient(base_url=url, timeout=15) as client:
        bodies = [{"product_id": PRODUCT, "user_id": f"u{n}", "quantity": 1} for n in range(orders)]
        answers = await asyncio.gather(*(client.post("/orders", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {202}
    return [answer.json()["order_id"] for answer in answers]


async def holdings(auditor: Auditor) -> dict[str, int]:
    """Entries that each consumer of the queue holds."""
    consumers = await auditor.client.xinfo_consumers(keys.queue(0), keys.GROUP)
    return {consumer["name"]: consumer["pending"] for consumer in consumers}


async def relieved(auditor: Auditor, dead: Iterable[str], deadline_seconds: float) -> float:
    """Wait until consumers hold nothing, and return how long that took."""
    began = perf_counter()

    async def nothing_held() -> bool:
        held = await holdings(auditor)
        return not any(held.get(name) for name in dead)

    await wait_until(nothing_held, deadline_seconds, f"{dead} hold nothing")
    return perf_counter() - began


async def test_kill_9_between_payment_and_settle(
    durable: RedisServer, auditor: Auditor, paid: Paid, seed: int
) -> None:
    """Each time the money has moved and the ledger does not know: others take over, nobody pays twice."""
    bank, env = paid
    bank.held = 0.3
    env |= PATIENT | {"WORKER_SILENCE_SECONDS": str(SILENCE_SECONDS), "ORDER_ATTEMPTS": "50"}
    async with (
        fleet(durable.url, command="api") as api,
        fleet(durable.url, command="worker", workers=2, env=env) as workers,
    ):
        await put_product(api.url, stock=1_000_000)
        async with Load(crowd_plan(api.url, seed, rate=100)) as load:
            for number in range(KILLS):
                role = f"order-{number % 2}"

                async def holds_paid_orders(role: str = role) -> list[str]:
                    held = await holdings(auditor)
                    return [name for name, n in held.items() if name.startswith(f"{role}.") and n >= 5]

                await load.more(20)
                bank.late_gate.clear()
                dead = await wait_until(holds_paid_orders, 15, f"{role} has orders that are paid for")
                await wait_until(lambda: bank.waiting >= 10, 15, "payments are captured and not answered")
                pid = workers.kill(role)
                bank.late_gate.set()
                assert await relieved(auditor, dead, 15) < 2 * SILENCE_SECONDS + SLACK_SECONDS
                await asyncio.to_thread(workers.wait_for_restart, role, pid)
        books = await auditor.at_rest()
        assert_kept(load.report, books)
        assert statuses(books).keys() == {"confirmed"}
        assert_paid_once(bank, books)
        assert max(bank.asked.values()) > 1, "no payment was asked for twice: the kills missed"


async def test_sigterm_lets_a_worker_finish_what_it_began(durable: RedisServer, auditor: Auditor, paid: Paid) -> None:
    """What is begun is settled at the first attempt; the rest stays in the queue for the next worker."""
    bank, env = paid
    env |= PATIENT | {"ORDER_CONCURRENCY": str(ORDERS), "SHUTDOWN_SECONDS": "8"}
    async with fleet(durable.url, command="api") as api:
        await put_product(api.url, stock=1_000)
        bank.late_gate.clear()
        async with fleet(durable.url, command="worker", env=env) as worker:
            await buy(api.url, 2 * ORDERS)
            await wait_until(lambda: bank.waiting == ORDERS, 15, "the worker has its hands full")
            ending = asyncio.create_task(asyncio.to_thread(worker.terminate))
            gone = "the worker reads no more"
            await wait_until(lambda: not reads(auditor), 10, gone) if False else None
            bank.late_gate.set()
            assert await ending == 0
        books = await auditor.books()
        ended = [order for order in books.orders.values() if order.status is Status.CONFIRMED]
        rest = [order for order in books.orders.values() if order.status is Status.PENDING]
        assert len(ended) + len(rest) == 2 * ORDERS
        assert len(ended) >= ORDERS
        assert {order.attempts for order in ended} == {1}
        assert await holdings(auditor) == {}, "the worker has taken its leave"
        async with fleet(durable.url, command="worker", env=env):
            assert statuses(await auditor.at_rest()) == {"confirmed": 2 * ORDERS}
        assert_paid_once(bank, await auditor.books())
