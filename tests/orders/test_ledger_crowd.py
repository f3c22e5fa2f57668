"""Many at one moment: exactly the units that there are, and one order a key."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

from service.ledger.ledger import ledger_scripts
from service.ledger.orders import NewOrder, Outcome, Placement, Status
from service.store import Shards, connect
from service.store.batching import Batcher
from tests.orders.sale import Sale
from tests.support import RedisServer

SCRIPTS = ledger_scripts()


async def test_many_clients_share_a_hundred_units(sale: Sale, store_server: RedisServer) -> None:
    """Twenty connections ask 1 000 times, some for two units: each of the 100 is sold once, and none is left."""
    await sale.product(stock=100)

    async def shop(buyer: Sale, numbers: range) -> Counter[Outcome]:
        units: Counter[Outcome] = Counter()
        for number in numbers:
            quantity = 2 if number % 7 == 0 else 1
            units[await buyer.try_buy(user_id=f"u{number}", quantity=quantity)] += quantity
        return units

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(store_server.url, name="buyer")) for _ in range(20)]
        said = await asyncio.gather(
            *[shop(Sale(Shards(client, SCRIPTS)), range(start, 1000, 20)) for start, client in enumerate(clients)]
        )
    units = sum(said, Counter())
    assert set(units) == {Outcome.ACCEPTED, Outcome.SOLD_OUT}
    assert (units[Outcome.ACCEPTED], await sale.units()) == (100, (0, 100, 0))


async def test_a_thousand_requests_with_one_key_are_one_order(sale: Sale, store_server: RedisServer) -> None:
    """All at one moment, over four processes' worth of clients that batch: one is accepted, all get the same order."""
    await sale.product(stock=5000)
    async with AsyncExitStack() as stack:
        batchers = []
        for _ in range(4):
            client = await stack.enter_async_context(connect(store_server.url, name="api"))
            batchers.append(_batcher(Sale(Shards(client, SCRIPTS))))
        said = await asyncio.gather(*[batchers[number % 4].submit(sale.request(key="k")) for number in range(1000)])
    assert Counter(placement.outcome for placement in said) == {Outcome.ACCEPTED: 1, Outcome.REPLAYED: 999}
    assert len({placement.order.order_id for placement in said if placement.order}) == 1
    assert (await sale.units(), (await sale.snapshot()).orders[Status.PENDING]) == ((4999, 1, 0), 1)


async def test_workers_side_by_side_share_the_orders(sale: Sale, store_server: RedisServer) -> None:
    """Five workers read, begin and settle 500 orders while others are cancelled: each order ends once."""
    await sale.product(stock=500)
    for _ in range(5):
        await sale.place(*[sale.request(user_id=f"u{number}") for number in range(100)])
    orders = list((await sale.dump()).orders.values())

    async def work(name: str, worker: Sale) -> int:
        done = 0
        while begun := await worker.take(name, 20):
            live = [one.order for one in begun if one.order]
            said = await asyncio.gather(*[worker.settle(order) for order in live])
            done += sum(one.result == "settled" for one in said)
        return done

    async def change_minds() -> int:
        return sum([(await sale.ledger.cancel(order.order_id))[0] == "cancelled" for order in orders[::-5]])

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(store_server.url, name="worker")) for _ in range(5)]
        workers = [Sale(Shards(client, SCRIPTS)) for client in clients]
        cancelled, *settled = await asyncio.gather(
            change_minds(), *[work(f"w{number}", worker) for number, worker in enumerate(workers)]
        )
    assert sum(settled) + cancelled == 500
    assert await sale.units() == (cancelled, 0, 500 - cancelled)
    assert (await sale.snapshot()).queue_length == 0


def _batcher(sale: Sale) -> Batcher[NewOrder, Placement]:
    async def send(orders: Sequence[NewOrder]) -> Sequence[Placement]:
        return await sale.place(*orders)

    return Batcher(send)
