"""Order workers that are killed, told to end, or stopped in their tracks while a payment is under way."""

import asyncio
import signal
from collections.abc import Iterable
from datetime import timedelta
from time import perf_counter

import pytest

from service.ledger.dead_letters import DeadLetters, Requeued
from service.store import keys
from tests.faults.conftest import Paid
from tests.faults.kit import (
    Auditor,
    Load,
    assert_kept,
    assert_paid_once,
    buy,
    crowd_plan,
    fleet,
    put_product,
    sale,
    statuses,
)
from tests.support import RedisServer, wait_until
from tests.support.service import Fleet

KILLS = 5
SILENCE_SECONDS = 0.5
SLACK_SECONDS = 0.5
SHUTDOWN_SECONDS = 2
ORDERS = 30
PATIENT = {"PAYMENT_TIMEOUT_SECONDS": "60", "PAYMENT_ATTEMPTS": "1", "ORDER_RETRY_SECONDS": "0.1"}


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


async def test_kill_9_between_payment_and_settle(durable: RedisServer, auditor: Auditor, paid: Paid, seed: int) -> None:
    """Each time the money has moved and the ledger does not know: others take over, nobody pays twice."""
    bank, env = paid
    bank.held = 0.3
    env |= PATIENT | {"WORKER_SILENCE_SECONDS": str(SILENCE_SECONDS), "ORDER_ATTEMPTS": "50"}
    async with sale(durable.url, workers=2, env=env) as (api, workers):
        await put_product(api.url, stock=1_000_000)
        async with Load(crowd_plan(api.url, seed, rate=100)) as load:
            taken_over: list[float] = []
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
                taken_over.append(await relieved(auditor, dead, 15))
                await asyncio.to_thread(workers.wait_for_restart, role, pid)
        dump = await auditor.at_rest()
        assert_kept(dump, load.report)
        assert statuses(dump).keys() == {"confirmed"}
        assert_paid_once(bank, dump)
        # The best of several: other work on the machine may delay one.
        assert min(taken_over) < 2 * SILENCE_SECONDS + SLACK_SECONDS, taken_over
        assert max(bank.asked.values()) > 1, "no payment was asked for twice: the kills missed"


async def reads(auditor: Auditor) -> bool:
    """Whether a worker waits for new orders."""
    return any(client["cmd"] == "xreadgroup" for client in await auditor.client.client_list())


async def test_sigterm_lets_a_worker_finish_what_it_began(durable: RedisServer, auditor: Auditor, paid: Paid) -> None:
    """What is begun is settled at its first attempt; what comes later stays for the next worker."""
    bank, env = paid
    env |= PATIENT | {"SHUTDOWN_SECONDS": "8"}
    async with fleet(durable.url, command="api") as api:
        await put_product(api.url, stock=1_000)
        bank.late_gate.clear()
        async with fleet(durable.url, command="worker", env=env) as worker:
            begun = await buy(api.url, ORDERS)
            await wait_until(lambda: bank.waiting == ORDERS, 15, "all are begun")
            ending = asyncio.create_task(asyncio.to_thread(worker.terminate))

            async def reads_no_more() -> bool:
                return not await reads(auditor)

            await wait_until(reads_no_more, 10, "the worker reads no more")
            late = await buy(api.url, ORDERS)
            bank.late_gate.set()
            assert await ending == 0
        orders = (await auditor.dump()).orders
        assert {(orders[order_id].status, orders[order_id].attempts) for order_id in begun} == {("confirmed", 1)}
        assert {(orders[order_id].status, orders[order_id].attempts) for order_id in late} == {("pending", 0)}
        assert await holdings(auditor) == {}, "the worker has taken its leave"
        async with fleet(durable.url, command="worker", env=env):
            dump = await auditor.at_rest()
        assert statuses(dump) == {"confirmed": 2 * ORDERS}
        assert_paid_once(bank, dump)


async def test_sigterm_of_a_worker_that_cannot_finish(durable: RedisServer, auditor: Auditor, paid: Paid) -> None:
    """It ends within SHUTDOWN_SECONDS + 1, and another worker has its orders long before the silence is over."""
    bank, env = paid
    silence = 8
    env |= PATIENT | {"SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS), "WORKER_SILENCE_SECONDS": str(silence)}
    async with sale(durable.url, env=env) as (api, first):
        await put_product(api.url, stock=1_000)
        bank.late_gate.clear()
        await buy(api.url, ORDERS)
        await wait_until(lambda: bank.waiting == ORDERS, 15, "all are begun")
        (consumer,) = await holdings(auditor)
        async with fleet(durable.url, command="worker", env=env):
            assert await asyncio.to_thread(first.terminate) == 0
            assert "role killed" not in first.log, "it did not end within SHUTDOWN_SECONDS + 1"
            assert await relieved(auditor, [consumer], silence) < silence * 0.75
            bank.late_gate.set()
            dump = await auditor.at_rest()
        assert statuses(dump) == {"confirmed": ORDERS}
        assert_paid_once(bank, dump)


async def pause(worker: Fleet, auditor: Auditor) -> str:
    """Stop an order worker in its tracks; return the name under which it holds orders."""
    held = await holdings(auditor)
    worker.kill("order-0", signal.SIGSTOP)
    return max(held, key=lambda name: held[name])


async def wait_until_gone_on(worker: Fleet, auditor: Auditor, name: str) -> None:
    """Let a paused worker go on, and wait until it says again that it lives."""
    worker.kill("order-0", signal.SIGCONT)

    async def beats() -> bool:
        age = await auditor.client.zscore(keys.prefix(0) + "workers", name)
        now = await auditor.client.time()
        return age is not None and now[0] * 1000 - age < SILENCE_SECONDS * 2000

    await wait_until(beats, 10, f"{name} is back")


@pytest.mark.parametrize("attempts", [100, 1], ids=["another worker confirms", "the order is given up"])
async def test_a_paused_worker_changes_nothing(
    durable: RedisServer, auditor: Auditor, paid: Paid, attempts: int
) -> None:
    """Its settlement comes when another stands. A payment that then has no order is given back."""
    bank, env = paid
    env |= PATIENT | {"WORKER_SILENCE_SECONDS": str(SILENCE_SECONDS), "ORDER_ATTEMPTS": str(attempts)}
    async with sale(durable.url, env=env) as (api, paused):
        await put_product(api.url, stock=1_000)
        bank.gate.clear()
        await buy(api.url, ORDERS)
        await wait_until(lambda: bank.waiting == ORDERS, 15, "all are begun")
        name = await pause(paused, auditor)
        async with fleet(durable.url, command="worker", env=env):
            if attempts == 1:
                before = await auditor.at_rest()
                await wait_until(auditor.no_refund_owed, 15, "the gateway was asked: it had captured nothing")
                assert bank.captured == {}
                bank.gate.set()
            else:
                await relieved(auditor, [name], 10)
                bank.gate.set()
                before = await auditor.at_rest()
            await wait_until(lambda: len(bank.captured) == ORDERS, 15, "all are paid")
            await wait_until_gone_on(paused, auditor, name)
            expected = "failed" if attempts == 1 else "confirmed"
            refunds = ORDERS if attempts == 1 else 0
            await wait_until(lambda: len(bank.refunded) == refunds, 15, "late payments are given back")
        after = await auditor.at_rest()
        assert statuses(after) == {expected: ORDERS}
        assert after.orders == before.orders
        assert_paid_once(bank, after)


async def test_a_paused_worker_cannot_pay_for_the_next_generation(
    durable: RedisServer, auditor: Auditor, paid: Paid
) -> None:
    """One that was given up and requeued is under way again when the settlement of its first generation arrives."""
    bank, env = paid
    env |= PATIENT | {"WORKER_SILENCE_SECONDS": str(SILENCE_SECONDS), "ORDER_ATTEMPTS": "1"}
    async with sale(durable.url, env=env) as (api, paused):
        await put_product(api.url, stock=1_000)
        bank.late_gate.clear()
        order_ids = await buy(api.url, ORDERS)
        await wait_until(lambda: bank.waiting == ORDERS, 15, "all are begun and paid")
        name = await pause(paused, auditor)
        async with fleet(durable.url, command="worker", env=env):
            await auditor.at_rest()
            await wait_until(lambda: len(bank.refunded) == ORDERS, 15, "the first payments are given back")
            bank.late_gate.set()  # the receipts of the first generation wait for the paused worker
            await wait_until(lambda: bank.waiting == 0, 15, "the bank has answered")
            bank.late_gate.clear()
            letters = DeadLetters(auditor.shards)
            assert set((await letters.requeue(order_ids, timedelta(minutes=5))).values()) == {Requeued.REQUEUED}
            await wait_until(lambda: bank.waiting == ORDERS, 15, "all are paid for in their second generation")
            await wait_until_gone_on(paused, auditor, name)
            await wait_until(lambda: sum(bank.refunded.values()) >= 2 * ORDERS, 15, "late receipts are given back")
            assert statuses(await auditor.dump()) == {"processing": ORDERS}
            bank.late_gate.set()
            dump = await auditor.at_rest()
        assert statuses(dump) == {"confirmed": ORDERS}
        assert {order.payment_id for order in dump.orders.values()} == {f"pay-{order_id}-1" for order_id in order_ids}
        assert_paid_once(bank, dump)
