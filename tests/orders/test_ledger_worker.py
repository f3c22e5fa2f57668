"""What a worker does with orders: begin, settle, defer, and the orders that come back into the queue."""

from datetime import timedelta

from service.ledger.ledger import BeginResult, DeferResult, Entry, Retry, Settlement, SettleResult
from service.ledger.orders import Status
from tests.orders.sale import AT_ONCE, LONG, Sale

GHOST = "00" + "0" * 28


class TestBegin:
    """An order that is taken in hand is `processing`, and cannot be cancelled or expire any more."""

    async def test_an_order_is_begun(self, sale: Sale) -> None:
        """The worker gets the whole order; the wait is told once, at the first attempt."""
        await sale.product()
        order = await sale.buy(quantity=2)
        (begun,) = await sale.take()
        assert begun.result is BeginResult.BEGUN
        assert begun.order == await sale.order(order)
        assert begun.order is not None
        assert (begun.order.status, begun.order.attempts) == (Status.PROCESSING, 1)
        assert begun.wait is not None
        assert AT_ONCE <= begun.wait < timedelta(seconds=5)
        assert begun.promised_wait == timedelta(seconds=order.estimated_wait_seconds)
        assert await sale.units() == (8, 2, 0)

    async def test_the_same_entry_again_is_another_attempt(self, sale: Sale) -> None:
        """Redelivery counts an attempt and tells no second wait."""
        await sale.product()
        await sale.buy()
        entries = await sale.deliver()
        await sale.begin(*entries)
        (again,) = await sale.begin(*entries)
        assert again.order is not None
        assert (again.result, again.order.attempts, again.wait, again.promised_wait) == (
            BeginResult.BEGUN,
            2,
            None,
            None,
        )

    async def test_an_order_that_had_too_many_attempts_is_dead(self, sale: Sale) -> None:
        """It is `failed`, its units are for sale again, it is on the list of dead letters, and out of the queue."""
        await sale.product()
        order = await sale.buy()
        entries = await sale.deliver()
        for _ in range(3):
            assert (await sale.under(attempts=3).begin(*entries))[0].result is BeginResult.BEGUN
        (dead,) = await sale.under(attempts=3).begin(*entries)
        assert dead.result is BeginResult.DEAD
        assert dead.order == await sale.order(order)
        assert dead.order is not None
        assert (dead.order.status, dead.order.reason, dead.order.attempts) == (
            Status.FAILED,
            "too_many_attempts",
            3,
        )
        assert [letter.order_id for letter in await sale.dead_letters.list()] == [order.order_id]
        assert await sale.units() == (10, 0, 0)
        assert (await sale.begin(*entries)) == [dead]
        await sale.dead_letters.drop([order.order_id])
        assert (await sale.begin(*entries))[0].result is BeginResult.GONE

    async def test_what_is_over_is_gone(self, sale: Sale) -> None:
        """Entries of orders that were cancelled, expired, settled or never were leave the queue, order by order."""
        await sale.product()
        cancelled, settled, live = [await sale.buy() for _ in range(3)]
        expired = await sale.under(reservation=AT_ONCE).buy()
        entries = await sale.deliver()
        await sale.ledger.cancel(cancelled.order_id)
        await sale.begin(entries[1])
        await sale.settle(settled)
        begun = await sale.begin(*entries, Entry("1-1", GHOST, ""))
        assert [b.result for b in begun] == ["gone", "gone", "begun", "gone", "gone"]
        assert await sale.status(expired) is Status.EXPIRED
        assert await sale.status(live) is Status.PROCESSING
        assert (await sale.snapshot()).queue_length == 1

    async def test_a_reservation_that_ended_unseen_ends_when_a_worker_looks(self, sale: Sale) -> None:
        """A worker never begins an order whose time is over; the units go back then, if not before."""
        await sale.product()
        order = await sale.under(reservation=AT_ONCE).buy(quantity=3)
        assert [begun.result for begun in await sale.take()] == [BeginResult.GONE]
        assert (await sale.order(order)).reason == "reservation_ended"
        assert await sale.units() == (10, 0, 0)
        assert await sale.ledger.expire(0) == []

    async def test_an_entry_from_an_earlier_time_is_gone(self, sale: Sale) -> None:
        """Once an order came back into the queue, only its new entry counts."""
        await sale.product()
        order = await sale.buy()
        (old,) = await sale.deliver()
        await sale.begin(old)
        await sale.defer(order)
        await sale.ledger.promote(0)
        assert (await sale.begin(old))[0].result is BeginResult.GONE
        (new,) = await sale.deliver("w2")
        assert (new.order_id, new.entry_id > old.entry_id, new.traceparent) == (old.order_id, True, old.traceparent)
        assert (await sale.begin(new))[0].result is BeginResult.BEGUN


class TestSettle:
    """The first settlement of an order stands; units, totals and queue follow it."""

    async def test_a_confirmed_order_is_sold(self, sale: Sale) -> None:
        """Held becomes sold; the payment is kept; the entry is out of the queue; both times are told."""
        await sale.product()
        order = await sale.buy(quantity=2)
        await sale.take()
        settled = await sale.settle(order, payment_id="pay-1")
        assert (settled.result, settled.status) == (SettleResult.SETTLED, Status.CONFIRMED)
        assert AT_ONCE <= settled.since_begun <= settled.since_accepted < timedelta(seconds=5)
        after = await sale.order(order)
        assert (after.status, after.payment_id, after.reason) == (Status.CONFIRMED, "pay-1", None)
        assert after.settled_at is not None
        assert after.settled_at - after.accepted_at == settled.since_accepted
        assert await sale.units() == (8, 0, 2)
        snapshot = await sale.snapshot()
        assert (snapshot.queue_length, snapshot.orders[Status.CONFIRMED]) == (0, 1)

    async def test_a_failed_order_gives_its_units_back(self, sale: Sale) -> None:
        """Its reason is kept, and it counts no more against the buyer's limit."""
        await sale.product(limit=1)
        order = await sale.buy()
        await sale.take()
        await sale.settle(order, Status.FAILED, "card_declined")
        assert ((await sale.order(order)).status, (await sale.order(order)).reason) == (
            Status.FAILED,
            "card_declined",
        )
        assert await sale.units() == (10, 0, 0)
        await sale.buy()

    async def test_the_first_settlement_stands(self, sale: Sale) -> None:
        """The same settlement again is `repeated`, another one is `refused`, and neither moves a unit."""
        await sale.product()
        order = await sale.buy()
        await sale.take()
        await sale.settle(order, payment_id="pay-1")
        again = await sale.settle(order, payment_id="pay-2")
        other = await sale.settle(order, Status.FAILED, "late")
        assert (again.result, again.status) == (SettleResult.REPEATED, Status.CONFIRMED)
        assert (other.result, other.status) == (SettleResult.REFUSED, Status.CONFIRMED)
        assert (await sale.order(order)).payment_id == "pay-1"
        assert await sale.units() == (9, 0, 1)

    async def test_an_order_that_nobody_began_is_not_settled(self, sale: Sale) -> None:
        """A settlement of a pending order is refused, on a cancelled one too; a ghost is gone."""
        await sale.product()
        pending, cancelled = await sale.buy(), await sale.buy()
        await sale.ledger.cancel(cancelled.order_id)
        settlements = [
            Settlement(order_id, Status.CONFIRMED) for order_id in (pending.order_id, cancelled.order_id, GHOST)
        ]
        settled = await sale.ledger.settle(0, settlements)
        assert [(s.result, s.status) for s in settled] == [
            (SettleResult.REFUSED, Status.PENDING),
            (SettleResult.REFUSED, Status.CANCELLED),
            (SettleResult.GONE, ""),
        ]

    async def test_a_list_is_settled_order_by_order(self, sale: Sale) -> None:
        """One settlement that does not count changes nothing about the others."""
        await sale.product()
        first, second, third = [await sale.buy() for _ in range(3)]
        await sale.take(limit=2)
        settled = await sale.ledger.settle(
            0,
            [
                Settlement(first.order_id, Status.CONFIRMED),
                Settlement(third.order_id, Status.CONFIRMED),
                Settlement(second.order_id, Status.FAILED, "declined"),
                Settlement(first.order_id, Status.CONFIRMED),
            ],
        )
        assert [s.result for s in settled] == ["settled", "refused", "settled", "repeated"]
        assert await sale.units() == (8, 1, 1)


class TestDefer:
    """An order whose payment has no answer waits for another attempt, still `processing`, out of anybody's hands."""

    async def test_a_deferred_order_comes_back_when_its_time_has_come(self, sale: Sale) -> None:
        """Not before, and once; then any worker may take it."""
        await sale.product()
        soon, later = await sale.buy(), await sale.buy()
        await sale.take()
        assert await sale.ledger.defer(
            0, [Retry(soon.order_id, AT_ONCE, "timeout"), Retry(later.order_id, LONG, "timeout")]
        ) == [DeferResult.DEFERRED, DeferResult.DEFERRED]
        assert (await sale.deliver("w2"), (await sale.snapshot()).queue_length) == ([], 2)
        assert await sale.ledger.promote(0) == 1
        assert await sale.ledger.promote(0) == 0
        (begun,) = await sale.take("w2")
        assert begun.order is not None
        assert (begun.order.order_id, begun.order.attempts, begun.wait) == (soon.order_id, 2, None)

    async def test_it_can_neither_be_cancelled_nor_expire(self, sale: Sale) -> None:
        """Its payment may have gone through, so only a worker may end it."""
        await sale.product()
        hasty = sale.under(reservation=timedelta(milliseconds=200))
        order = await hasty.buy()
        await sale.take()
        await sale.defer(order, LONG)
        assert (await sale.ledger.cancel(order.order_id))[0] == "not_cancellable"
        assert (await sale.dump()).deadlines == frozenset()
        assert (await sale.order(order)).reason == "timeout"

    async def test_a_settlement_ends_it_also_while_it_waits(self, sale: Sale) -> None:
        """A worker that learns the outcome late settles it; it does not come back, and no old reason stays."""
        await sale.product()
        order = await sale.buy()
        await sale.take()
        await sale.defer(order, AT_ONCE, "timeout")
        assert (await sale.settle(order)).result is SettleResult.SETTLED
        assert await sale.ledger.promote(0) == 0
        assert ((await sale.order(order)).status, (await sale.order(order)).reason) == (Status.CONFIRMED, None)

    async def test_nobody_has_it_while_it_waits(self, sale: Sale) -> None:
        """The entry that the worker had is nothing any more, and being put aside again moves no time."""
        await sale.product()
        order = await sale.buy()
        entries = await sale.deliver()
        await sale.begin(*entries)
        await sale.defer(order, AT_ONCE)
        assert [begun.result for begun in await sale.begin(*entries)] == [BeginResult.GONE]
        assert await sale.defer(order, LONG) is DeferResult.DEFERRED
        assert await sale.ledger.promote(0) == 1

    async def test_after_its_last_attempt_it_is_dead(self, sale: Sale) -> None:
        """The reason of the last attempt is the reason of the dead letter."""
        await sale.product()
        order = await sale.buy()
        patient = sale.under(attempts=2)
        await patient.take()
        assert await patient.defer(order, AT_ONCE, "first") is DeferResult.DEFERRED
        await patient.ledger.promote(0)
        await patient.take()
        assert await patient.defer(order, AT_ONCE, "second") is DeferResult.DEAD
        (letter,) = await sale.dead_letters.list()
        assert (letter.order_id, letter.status, letter.reason) == (order.order_id, Status.FAILED, "second")
        assert await sale.units() == (10, 0, 0)

    async def test_only_what_was_begun_can_be_deferred(self, sale: Sale) -> None:
        """A pending order, a settled one and a ghost are none of a worker's business."""
        await sale.product()
        settled = await sale.buy()
        await sale.take()
        await sale.settle(settled)
        pending = await sale.buy()
        ids = (settled.order_id, pending.order_id, GHOST)
        assert await sale.ledger.defer(0, [Retry(order_id, AT_ONCE, "x") for order_id in ids]) == [
            DeferResult.GONE,
            DeferResult.GONE,
            DeferResult.GONE,
        ]

    async def test_promote_puts_back_a_bounded_number_the_earliest_first(self, sale: Sale) -> None:
        """What waits longest for its turn comes first; the rest comes with the next call."""
        await sale.product()
        orders = [await sale.buy() for _ in range(3)]
        await sale.take()
        for order, late in zip(orders, (1, 3, 2), strict=True):
            await sale.defer(order, timedelta(seconds=-late))
        assert [await sale.ledger.promote(0, 2) for _ in range(3)] == [2, 1, 0]
        assert [entry.order_id for entry in await sale.deliver("w2")] == [orders[index].order_id for index in (1, 2, 0)]
