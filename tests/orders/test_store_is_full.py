"""A store without room refuses each step by its own word, which every caller knows for an outage."""

import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.store import outage_reason
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
