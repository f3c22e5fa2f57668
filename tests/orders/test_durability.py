"""`DURABILITY=replicated`: nothing is told before replicas have it; `tests/faults/test_failovers.py` has failovers."""

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import RedisError

from service.ledger.refunds import Refund, refund_order
from service.store import connect, outage_reason
from service.store.preflight import ASYNCHRONOUS, StoreRefused, check
from service.store.replication import REMEMBERED_SECONDS, ReplicaCount
from tests.conftest import MakeServer
from tests.orders.sale import LONG, Sale
from tests.support.clusters import command, in_step
from tests.support.waiting import wait_until


async def test_without_replicas_nothing_is_acknowledged(make_server: MakeServer) -> None:
    """Refused at start; an outage when they go later, and the order that was placed is there all the same."""
    server = make_server("redis")
    async with connect(server.url, name="test") as client:
        with pytest.raises(StoreRefused, match="DURABILITY=replicated: the store has no replica"):
            await check(client, "replicated")
        sale = await Sale.open(client)
        await sale.product()
        sale.shards.replicas_wait_seconds = 0.1
        request = sale.request(key="k")
        for _ in range(2):
            with pytest.raises(RedisError) as failed:
                await sale.place(request)
            assert outage_reason(failed.value) == "no_replicas"
        replica = make_server("redis", repl_diskless_sync_delay="0")
        command(replica, "REPLICAOF", "127.0.0.1", server.port)
        await wait_until(lambda: in_step(replica), 15, "the replica is in step")
        sale.shards.replicas_wait_seconds = 5.0
        (placed,) = await sale.place(request)
        assert placed.outcome == "accepted"
        assert len((await sale.dump()).orders) == 1
        assert ASYNCHRONOUS in (await check(client)).warnings
        assert ASYNCHRONOUS not in (await check(client, "replicated")).warnings


async def test_what_a_merchant_is_told_waits_for_the_replicas_too(make_server: MakeServer) -> None:
    """A refund, a stock, a dead letter's fate, a cancellation: none is told while no replica has it."""
    async with connect(make_server("redis").url, name="test") as client:
        sale = await Sale.open(client)
        await sale.product()
        bought, waits = await sale.buy(), await sale.buy()
        await sale.take(limit=1)
        await sale.settle(bought)
        await sale.ledger.cancel(waits.order_id)
        letters = [(await sale.dead_letter(user_id=user)).order_id for user in ("ann", "bob")]
        pending = await sale.buy()
        sale.shards.replicas_wait_seconds = 0.1
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "refund": lambda: refund_order(sale.shards, Refund(order_id=bought.order_id)),
            "stock": lambda: sale.catalogue.restock("phone", 1),
            "requeue": lambda: sale.dead_letters.requeue(letters[:1], LONG),
            "drop": lambda: sale.dead_letters.drop(letters[1:]),
            "refused": lambda: sale.ledger.refuse("api-0", 1, {"overloaded": 1}),
            "cancel": lambda: sale.ledger.cancel(pending.order_id),
        }
        for name, act in acts.items():
            with pytest.raises(RedisError) as failed:
                await act()
            assert outage_reason(failed.value) == "no_replicas", name
        sale.shards.replicas_wait_seconds = 0
        await sale.dump()


def test_a_replica_that_has_left_is_asked_for_a_while() -> None:
    """The most of the last seconds, and never none."""
    count = ReplicaCount()
    assert count.wanted == 1
    for now, replicas, wanted in (
        (0, 2, 2),
        (1, 1, 2),
        (REMEMBERED_SECONDS - 1, 1, 2),
        (REMEMBERED_SECONDS + 0.5, 1, 1),
    ):
        count.note(now, replicas)
        assert count.wanted == wanted
    count.note(100, 0)
    assert count.wanted == 1
