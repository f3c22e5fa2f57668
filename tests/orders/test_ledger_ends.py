"""The ways in which an order ends without a worker: cancelled, expired; and races in which one of many wins."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from service.ledger.ledger import BeginResult, Settlement, SettleResult, ledger_scripts
from service.ledger.orders import Cancellation, Outcome, Status
from service.store import Shards, connect
from tests.orders.sale import AT_ONCE, LONG, Sale
from tests.support import RedisServer

ROUNDS = 25
SCRIPTS = ledger_scripts()


class TestCancel:
    """A buyer may take back an order until a worker begins it."""

    async def test_cancelling_gives_the_units_back_once(self, sale: Sale) -> None:
        """Twice is `cancelled` twice and one release; the order is out of the queue."""
        await sale.product(stock=2, limit=2)
        order = await sale.buy(quantity=2)
        first = await sale.ledger.cancel(order.order_id)
        again = await sale.ledger.cancel(order.order_id)
        assert first == again == (Cancellation.CANCELLED, await sale.order(order))
        assert (await sale.status(order), await sale.units()) == (Status.CANCELLED, (2, 0, 0))
        assert (await sale.deliver(), (await sale.dump()).buyers) == ([], {})
        await sale.buy(quantity=2)

    async def test_only_its_own_buyer_may(self, sale: Sale) -> None:
        """To anybody else the order does not exist."""
        await sale.product()
        order = await sale.buy(user_id="ann")
        assert await sale.ledger.cancel(order.order_id, "bob") == (Cancellation.UNKNOWN_ORDER, None)
        assert await sale.status(order) is Status.PENDING
        assert (await sale.ledger.cancel(order.order_id, "ann"))[0] is Cancellation.CANCELLED
        assert await sale.ledger.cancel(order.order_id, "bob") == (Cancellation.UNKNOWN_ORDER, None)

    async def test_an_unknown_order_is_said_to_be_unknown(self, sale: Sale) -> None:
        """There is nothing to cancel."""
        assert await sale.ledger.cancel("00" + "a" * 28) == (Cancellation.UNKNOWN_ORDER, None)

    async def test_once_begun_it_is_too_late(self, sale: Sale) -> None:
        """Neither while it is processed nor afterwards; the answer shows the order."""
        await sale.product()
        order = await sale.buy()
        await sale.take()
        assert await sale.ledger.cancel(order.order_id) == (
            Cancellation.NOT_CANCELLABLE,
            await sale.order(order),
        )
        await sale.settle(order)
        assert (await sale.ledger.cancel(order.order_id))[0] is Cancellation.NOT_CANCELLABLE
        assert await sale.units() == (9, 0, 1)

    async def test_delivered_is_not_yet_begun(self, sale: Sale) -> None:
        """An order that lies in a worker's hands untouched can be cancelled; the worker then finds nothing."""
        await sale.product()
        order = await sale.buy()
        entries = await sale.deliver()
        assert (await sale.ledger.cancel(order.order_id))[0] is Cancellation.CANCELLED
        assert (await sale.begin(*entries))[0].result is BeginResult.GONE


class TestExpire:
    """A reservation that nobody began in time ends, and its units are for sale again."""

    async def test_what_is_due_expires_once(self, sale: Sale) -> None:
        """The due ones only; the next look finds nothing."""
        await sale.product()
        due = await sale.under(reservation=AT_ONCE).buy(quantity=4)
        later = await sale.buy()
        assert await sale.ledger.expire(0) == [due.order_id]
        assert await sale.ledger.expire(0) == []
        after = await sale.order(due)
        assert (after.status, after.reason) == (Status.EXPIRED, "reservation_ended")
        assert after.settled_at is not None
        assert after.settled_at >= after.expires_at
        assert (await sale.status(later), await sale.units()) == (Status.PENDING, (9, 1, 0))
        assert [entry.order_id for entry in await sale.deliver()] == [later.order_id]

    async def test_a_bounded_number_at_a_time(self, sale: Sale) -> None:
        """A flood of ended reservations is worked off in portions."""
        await sale.product()
        await sale.under(reservation=AT_ONCE).place(*[sale.request() for _ in range(5)])
        assert [len(await sale.ledger.expire(0, 2)) for _ in range(4)] == [2, 2, 1, 0]

    async def test_what_was_begun_never_expires(self, sale: Sale) -> None:
        """However late: its payment may have gone through."""
        await sale.product()
        order = await sale.under(reservation=timedelta(seconds=1)).buy()
        await sale.take()
        await sale.shards.client.zadd("{fs:00}:deadlines", {order.order_id: 0})
        assert await sale.ledger.expire(0) == []
        assert await sale.status(order) is Status.PROCESSING

    async def test_the_units_can_be_sold_again(self, sale: Sale) -> None:
        """The last unit passes from a buyer who waited too long to the next one."""
        await sale.product(stock=1, limit=1)
        await sale.under(reservation=AT_ONCE).buy(user_id="ann")
        assert await sale.try_buy(user_id="bob") is Outcome.SOLD_OUT
        await sale.ledger.expire(0)
        await sale.buy(user_id="bob")
        await sale.ledger.cancel((await sale.orders_of("bob", 1))[0].order_id)
        await sale.buy(user_id="ann")


@pytest.mark.parametrize("reservation", [AT_ONCE, timedelta(milliseconds=3), LONG])
async def test_one_of_many_ends_an_order(sale: Sale, store_server: RedisServer, reservation: timedelta) -> None:
    """Cancel, expire, begin and settle at one moment, each on its own connection: one ends it, the rest say so."""
    await sale.product(stock=1000)
    ends: Counter[Status] = Counter()

    async def work(racer: Sale) -> list[SettleResult]:
        begun = [one.order.order_id for one in await racer.take() if one.order]
        settlements = [Settlement(order_id, Status.CONFIRMED, "", "p") for order_id in begun]
        return [settled.result for settled in await racer.ledger.settle(0, settlements)]

    async with AsyncExitStack() as stack:
        racers = [
            Sale(Shards(await stack.enter_async_context(connect(store_server.url, name="racer")), SCRIPTS))
            for _ in range(4)
        ]
        for turn in range(ROUNDS):
            order = await sale.under(reservation=reservation).buy()
            racing = [
                racers[0].ledger.cancel(order.order_id),
                racers[1].ledger.expire(0),
                work(racers[2]),
                racers[3].ledger.cancel(order.order_id, "ann"),
            ]
            turned = racing[turn % 4 :] + racing[: turn % 4]
            await asyncio.gather(*turned)
            await racers[1].ledger.expire(0)
            await work(racers[2])
            ends[await sale.status(order)] += 1
    assert ends.total() == ROUNDS
    assert set(ends) <= {Status.CONFIRMED, Status.CANCELLED, Status.EXPIRED}
    assert await sale.units() == (1000 - ends[Status.CONFIRMED], 0, ends[Status.CONFIRMED])
    totals = (await sale.dump()).snapshot.orders
    assert {status: totals[status] for status in ends} == ends


async def test_two_settlements_at_one_moment_are_one(sale: Sale) -> None:
    """Two workers that hold the same order confirm and fail it at once: one settlement stands, units move once."""
    await sale.product(stock=100)
    for _ in range(ROUNDS):
        order = await sale.buy()
        await sale.take()
        settled = await asyncio.gather(sale.settle(order), sale.settle(order, Status.FAILED, "declined"))
        assert sorted(one.result for one in settled) == [SettleResult.REFUSED, SettleResult.SETTLED]
        assert {one.status for one in settled} == {await sale.status(order)}
    _, held, sold = await sale.units()
    assert (held, sold) == (0, (await sale.dump()).snapshot.orders[Status.CONFIRMED])
