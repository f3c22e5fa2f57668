"""What becomes of entries whose worker went, in order or not: the next worker gets them, and nothing is lost."""

from datetime import timedelta
from functools import partial

from service.ledger.ledger import BeginResult, Entry
from service.ledger.orders import Status
from tests.orders.sale import LONG, Sale
from tests.support import wait_until

SILENCE = timedelta(milliseconds=1)


async def consumers(sale: Sale) -> dict[str, int]:
    """Return how many entries each consumer of the queue holds."""
    return {c["name"]: c["pending"] for c in await sale.shards.client.xinfo_consumers("{fs:00}:queue", "workers")}


async def reclaimed(sale: Sale, consumer: str, most: int = 100) -> list[Entry]:
    """Reclaim until there is something to have: the others' heartbeats must first be a millisecond old."""
    reclaim = partial(sale.ledger.reclaim, 0, consumer, SILENCE, most)
    found: list[Entry] = await wait_until(reclaim, what="something to reclaim")
    return found


async def test_a_dead_workers_entries_move_to_the_next(sale: Sale) -> None:
    """Delivered or begun, they are the next worker's, who goes on with the next attempt."""
    await sale.product()
    for _ in range(2):
        await sale.buy()
    await sale.ledger.reclaim(0, "w1", LONG, 10)
    first, second = await sale.deliver("w1")
    await sale.begin(first)
    assert await reclaimed(sale, "w2") == [first, second]
    begun = await sale.begin(first, second)
    assert [(one.result, one.order and one.order.attempts) for one in begun] == [("begun", 2), ("begun", 1)]
    assert await consumers(sale) == {"w1": 0, "w2": 2}


async def test_a_worker_that_lives_keeps_its_entries(sale: Sale) -> None:
    """A heartbeat within the time of silence keeps them, however long the work takes."""
    await sale.product()
    await sale.buy()
    await sale.ledger.reclaim(0, "w1", LONG, 10)
    await sale.deliver("w1")
    assert await sale.ledger.reclaim(0, "w2", LONG, 10) == []
    assert await consumers(sale) == {"w1": 1}


async def test_no_more_than_asked_for(sale: Sale) -> None:
    """A worker takes what it has room for; the rest stays for the next call or the next worker."""
    await sale.product()
    for _ in range(5):
        await sale.buy()
    await sale.ledger.reclaim(0, "w1", LONG, 10)
    entries = await sale.deliver("w1")
    assert await reclaimed(sale, "w2", 2) == entries[:2]
    assert await sale.ledger.reclaim(0, "w3", LONG, 0) == []
    assert await consumers(sale) == {"w1": 3, "w2": 2}


async def test_room_is_shared_by_all_who_are_dead(sale: Sale) -> None:
    """Entries of several dead workers together are no more than there is room for."""
    await sale.product()
    for _ in range(6):
        await sale.buy()
    for name in ("w1", "w2"):
        await sale.deliver(name, 3)
        await sale.ledger.leave(0, name)
    assert len(await sale.ledger.reclaim(0, "w3", LONG, 4)) == 4
    assert (await consumers(sale))["w3"] == 4
    assert len(await sale.ledger.reclaim(0, "w3", LONG, 4)) == 2


async def test_a_worker_with_nothing_left_is_forgotten(sale: Sale) -> None:
    """Neither the group nor the snapshot keeps names of the dead."""
    await sale.product()
    await sale.buy()
    await sale.ledger.reclaim(0, "w1", LONG, 10)
    await sale.deliver("w1")
    await reclaimed(sale, "w2")

    async def forgotten() -> bool:
        await sale.ledger.reclaim(0, "w2", SILENCE, 10)
        return list((await sale.snapshot()).workers) == ["w2"]

    await wait_until(forgotten, what="w1 is forgotten")
    assert await consumers(sale) == {"w2": 1}


async def test_a_worker_without_a_heartbeat_is_found_too(sale: Sale) -> None:
    """One that read before its first heartbeat, or was forgotten while it stood still, loses nothing by dying."""
    await sale.product()
    await sale.buy()
    (entry,) = await sale.deliver("silent")
    assert await reclaimed(sale, "w2") == [entry]


async def test_the_dead_workers_settlement_still_counts_if_it_comes_first(sale: Sale) -> None:
    """A worker that was only slow and the one that took over: one settlement, whoever gives it."""
    await sale.product()
    order = await sale.buy()
    await sale.ledger.reclaim(0, "slow", LONG, 10)
    await sale.take("slow")
    entries = await reclaimed(sale, "w2")
    await sale.begin(*entries)
    assert (await sale.settle(order, payment_id="p")).result == "settled"
    assert (await sale.settle(order, payment_id="p")).result == "repeated"
    assert (await sale.begin(*entries))[0].result is BeginResult.GONE
    assert await sale.units() == (9, 0, 1)


async def test_who_leaves_hands_over_at_once(sale: Sale) -> None:
    """No silence has to pass: what it left is the next worker's with the next call."""
    await sale.product()
    for _ in range(3):
        await sale.buy()
    await sale.ledger.reclaim(0, "w1", LONG, 10)
    entries = await sale.deliver("w1")
    assert await sale.ledger.leave(0, "w1") == 3
    assert await sale.ledger.reclaim(0, "w2", LONG, 10) == entries


async def test_who_leaves_with_empty_hands_is_forgotten(sale: Sale) -> None:
    """Also when it says so twice, or never was there."""
    await sale.product()
    order = await sale.buy()
    await sale.ledger.reclaim(0, "w1", LONG, 10)
    await sale.take("w1")
    await sale.settle(order)
    assert [await sale.ledger.leave(0, "w1") for _ in range(2)] == [0, 0]
    assert await sale.ledger.leave(0, "nobody") == 0
    assert (await consumers(sale), (await sale.snapshot()).workers) == ({}, {})


async def test_what_was_delivered_and_then_cancelled_is_not_reclaimed(sale: Sale) -> None:
    """An order that ended took its entry along, out of the dead worker's list too."""
    await sale.product()
    order, other = await sale.buy(), await sale.buy()
    await sale.ledger.reclaim(0, "w1", LONG, 10)
    await sale.deliver("w1")
    await sale.ledger.cancel(order.order_id)
    assert [entry.order_id for entry in await reclaimed(sale, "w2")] == [other.order_id]
    assert await sale.status(other) is Status.PENDING
