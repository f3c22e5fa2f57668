"""A store that stood still did not make the workers slow: that time is nobody's work, and no buyer's wait."""

import asyncio

import pytest

from service.ledger.snapshot import take_snapshot
from service.store import connect
from tests.conftest import MakeServer
from tests.orders.sale import Sale
from tests.support.stores import Kind

STOPPED_SECONDS = 4.0


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_a_standstill_is_not_booked_as_work(make_server: MakeServer, kind: Kind) -> None:
    """One order is settled before it, one after: the pace is that of the moments before and after."""
    store = make_server(kind)
    async with connect(store.url, name="test", timeout_seconds=10) as client:
        sale = await Sale.open(client)
        await sale.product("phone", stock=100)
        orders = [await sale.buy("phone") for _ in range(4)]
        entries = await sale.deliver("w1", limit=2)
        await sale.begin(*entries)
        await sale.settle(orders[0])
        await sale.shards.run("beat", 0, "")
        store.pause()
        await asyncio.sleep(STOPPED_SECONDS)  # the fault itself
        store.resume()
        waiting = await sale.buy("phone")
        snapshot = await take_snapshot(sale.shards)
        assert snapshot.waited_seconds < 1
        await sale.shards.run("beat", 0, "1")
        await sale.settle(orders[1])
        seconds = [await client.hgetall(key) async for key in client.scan_iter("*second:*")]
        assert sum(int(second.get("busy_ms", 0)) for second in seconds) < 1000
        assert waiting.order_id
