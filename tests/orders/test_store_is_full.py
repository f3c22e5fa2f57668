"""A store without room refuses each step by its own word, which every caller knows for an outage."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.ledger.ledger import Retry, Settlement
from service.ledger.orders import Status
from service.store import keys, outage_reason
from tests.orders.sale import Sale

PRODUCT = "phone"


async def test_a_step_that_the_store_has_no_room_for_is_an_outage(store: Redis) -> None:
    """Not an error of ours, though the step caught it on its way; afterwards all goes on."""
    sale = await Sale.open(store)
    await sale.product(PRODUCT, stock=100)
    orders = [await sale.buy(PRODUCT, f"u{number}") for number in range(4)]
    begun = await sale.take("w1", limit=2)
    assert len(begun) == 2
    await store.config_set("maxmemory", 1)
    try:
        steps = [
            sale.place(sale.request(PRODUCT, "late")),
            sale.place(sale.request(PRODUCT, "u1")),
            sale.ledger.cancel(orders[3].order_id),
            sale.settle(begun[0].order or orders[0]),
        ]
        found = await asyncio.gather(*steps, return_exceptions=True)
    finally:
        await store.config_set("maxmemory", 0)
    reasons = [outage_reason(one) if isinstance(one, RedisError) else one for one in found]
    assert reasons == ["out_of_memory"] * len(steps)
    await sale.settle(begun[0].order or orders[0])
    await sale.buy(PRODUCT, "late")


async def contents(store: Redis) -> dict[bytes, bytes | None]:
    """Return every key of the ledger as the store keeps it."""
    told = store.connection_pool.connection_kwargs
    async with Redis(host=told["host"], port=told["port"], db=told["db"]) as client:  # whose replies are bytes
        return {key: await client.dump(key) async for key in client.scan_iter(f"{keys.prefix(0)}*")}


@pytest.mark.parametrize("step", ["place", "begin", "settle", "cancel", "defer"])
async def test_a_step_that_the_store_has_no_room_for_leaves_everything_as_it_was(store: Redis, step: str) -> None:
    """Of a call that carries several orders none is changed, whatever becomes of each."""
    sale = await Sale.open(store)
    await sale.product(PRODUCT, stock=100)
    orders = [await sale.buy(PRODUCT, f"u{number}") for number in range(6)]
    entries = await sale.deliver(limit=5)
    await sale.ledger.begin(0, entries[:3])
    confirmed = Settlement(orders[0].order_id, Status.CONFIRMED, payment_id="p")
    failed = Settlement(orders[1].order_id, Status.FAILED, reason="declined", maybe_captured=True)
    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "place": lambda: sale.place(*(sale.request(PRODUCT, f"u{number}") for number in range(9))),
        "begin": lambda: sale.ledger.begin(0, entries[3:]),
        "settle": lambda: sale.ledger.settle(0, [confirmed, failed, confirmed]),
        "cancel": lambda: sale.ledger.cancel(orders[5].order_id),
        "defer": lambda: sale.ledger.defer(0, [Retry(orders[2].order_id, timedelta(seconds=1), "later")]),
    }
    await store.config_set("maxmemory", 1)
    try:
        before = await contents(store)
        with pytest.raises(RedisError) as told:
            await steps[step]()
        assert outage_reason(told.value) == "out_of_memory"
        assert await contents(store) == before
    finally:
        await store.config_set("maxmemory", 0)
    await sale.ledger.settle(0, [confirmed, failed, confirmed])
    await sale.dump()
