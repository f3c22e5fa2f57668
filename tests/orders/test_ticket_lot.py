"""The lot of a sale by ticket is fair, and a ticket costs little."""

import random
from datetime import timedelta
from math import sqrt

import pytest
from redis.asyncio import Redis

from service.ledger.ledger import ledger_scripts
from service.ledger.orders import Outcome
from service.store import Shards, connect, keys
from tests.conftest import MakeServer
from tests.orders.sale import Sale
from tests.orders.ticket_sale import PHONE, SOON, TicketSale


async def test_a_ticket_takes_little_room(valkey: Redis) -> None:
    """The store's own measure of its keys: 20 000 tickets take less than 60 bytes each."""
    lot = TicketSale(await Sale.open(valkey))
    await lot.offer()
    before = await bytes_of_keys(valkey)
    for start in range(0, 20_000, 500):
        users = [keys.digest(str(number)) for number in range(start, start + 500)]
        flat = [part for user in users for part in ("phone", user[:3], user[3:15])]
        await lot.sale.shards.run("ticket", 0, "k", "c", 15_000, 1000_000, 1000_000, *flat)
    each = (await bytes_of_keys(valkey) - before) / 20_000
    print(f"{each:.1f} bytes a ticket")  # noqa: T201
    assert each < 60


async def bytes_of_keys(valkey: Redis) -> int:
    """Return what the keys take by themselves: what the whole process takes depends on when Lua tidied up."""
    asked = valkey.pipeline(transaction=False)
    async for key in valkey.scan_iter(count=1000):
        asked.memory_usage(key, samples=0)
    return sum(await asked.execute())


def limit_of_chi_squared(freedom: int, normal: float = 4.75) -> float:
    """Return what chance exceeds once in a million times (Wilson and Hilferty, 1931)."""
    return freedom * float(1 - 2 / (9 * freedom) + normal * sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize("count", [2, 3, 10])
async def test_the_lot_is_fair(valkey: Redis, count: int) -> None:
    """Over many lots every ticket has every place equally often, and no two tickets keep to each other."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    rng, lots = random.Random(seed), 1200
    lot = TicketSale(await Sale.open(valkey))
    await lot.offer()
    flat = [part for number in range(count) for part in ("phone", "000", f"{number:012d}")]
    asked: tuple[str | int, ...] = ("k", "c", 15_000, 1000_000, 1000_000, *flat)
    await lot.sale.shards.run("ticket", 0, *asked)
    await lot.open()
    places = [[0] * count for _ in range(count)]
    steps = [0] * count
    for _ in range(lots):
        await valkey.hset(PHONE, "seed", f"{rng.getrandbits(160):040x}")
        drawn = [reply[3] for reply in (await lot.sale.shards.run("ticket", 0, *asked))[1:]]
        assert sorted(drawn) == list(range(count))
        for number, place in enumerate(drawn):
            places[number][place] += 1
        steps[(drawn[1] - drawn[0]) % count] += 1
    expected = lots / count
    statistic = sum((seen - expected) ** 2 / expected for row in places for seen in row)
    assert statistic < limit_of_chi_squared((count - 1) ** 2), places
    apart = lots / (count - 1)
    together = sum((seen - apart) ** 2 / apart for seen in steps[1:])
    assert count == 2 or together < limit_of_chi_squared(count - 2), steps


async def test_two_lots_are_not_alike(sale: Sale) -> None:
    """The seed is of the opening: the same users in the same order get other places each time."""
    orders, lot = [], TicketSale(sale)
    for round_number in range(2):
        await lot.offer(opens=SOON + timedelta(minutes=round_number))
        users = await lot.everybody(20)
        await lot.open()
        orders.append(await lot.in_turn(users))
    assert orders[0] != orders[1]


async def test_a_store_that_is_killed_forgets_no_ticket_and_no_lot(make_server: MakeServer) -> None:
    """With its log on disk, as the embedded store keeps it: the same tickets, and the same places of all of them."""
    server = make_server("valkey", aof=True)
    async with connect(server.url, name="test") as client:
        lot = TicketSale(await Sale.open(client))
        await lot.offer(stock=2)
        users = await lot.everybody(12)
        texts = [(await lot.ticket(user)).text for user in users]
    for draw in (True, False):
        server.kill9()
        server.restart()
        async with connect(server.url, name="test") as client:
            lot = TicketSale(Sale(Shards(client, ledger_scripts())))
            assert [(await lot.ticket(user)).text for user in users] == texts
            if draw:
                await lot.open()
                drawn = await lot.in_turn(users)
                continue
            assert await lot.in_turn(users) == drawn
            assert (await lot.order(drawn[2])).outcome is Outcome.NOT_YOUR_TURN
            assert (await lot.order(drawn[0])).outcome is Outcome.ACCEPTED
