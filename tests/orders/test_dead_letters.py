"""Dead letters: orders that could not be processed, for a person to look at, give another generation, or let go."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from redis.asyncio import Redis

from service.ledger.dead_letters import Requeued
from service.ledger.ledger import SettleResult
from service.ledger.orders import Cancellation, Status
from tests.orders.sale import AT_ONCE, LONG, Sale
from tests.support import wait_until


async def test_a_dead_letter_holds_nothing(sale: Sale) -> None:
    """It is `failed` with the reason of its last attempt; its units are for sale; it counts against no limit."""
    await sale.product(limit=2)
    letter = await sale.dead_letter(quantity=2)
    assert (letter.status, letter.reason) == (Status.FAILED, "gateway_down")
    assert await sale.dead_letters.list() == [letter]
    assert (await sale.units(), (await sale.snapshot()).dead_letters) == ((10, 0, 0), 1)
    assert (await sale.ledger.cancel(letter.order_id))[0] is Cancellation.NOT_CANCELLABLE
    await sale.buy(quantity=2)


async def test_requeue_gives_an_order_another_life(sale: Sale) -> None:
    """It is pending, with a new reservation, no attempts and a new payment key, and can be sold after all."""
    await sale.product()
    letter = await sale.dead_letter(quantity=2)
    ahead = await sale.buy()
    assert await sale.dead_letters.requeue([letter.order_id], LONG) == {letter.order_id: Requeued.REQUEUED}
    order = await sale.order(letter)
    assert (order.status, order.attempts, order.reason, order.settled_at, order.generation) == (
        Status.PENDING,
        0,
        None,
        None,
        1,
    )
    assert order.accepted_at >= ahead.accepted_at
    assert (order.expires_at - order.accepted_at, order.queue_position) == (LONG, 2)
    assert order.payment_key != letter.payment_key
    assert (await sale.units(), await sale.dead_letters.list()) == ((7, 3, 0), [])
    begun = await sale.take()
    assert [one.order.attempts for one in begun if one.order] == [1, 1]
    assert begun[1].wait is not None
    assert (await sale.settle(order)).result is SettleResult.SETTLED
    snapshot = await sale.snapshot()
    assert (snapshot.requeued, snapshot.orders[Status.PENDING]) == (1, 3)
    assert (snapshot.orders[Status.FAILED], snapshot.orders[Status.CONFIRMED]) == (1, 1)


async def test_a_requeued_order_can_be_cancelled_expire_and_die_again(sale: Sale) -> None:
    """A requeued order is like a new one."""
    await sale.product()
    cancelled, expired, dead = [await sale.dead_letter() for _ in range(3)]
    await sale.dead_letters.requeue([cancelled.order_id, dead.order_id], LONG)
    await sale.dead_letters.requeue([expired.order_id], AT_ONCE)
    assert (await sale.ledger.cancel(cancelled.order_id))[0] is Cancellation.CANCELLED
    assert await sale.ledger.expire(0) == [expired.order_id]
    await sale.take()
    await sale.under(attempts=1).defer(dead, reason="again")
    assert [(letter.order_id, letter.reason) for letter in await sale.dead_letters.list()] == [(dead.order_id, "again")]
    await sale.dead_letters.requeue([dead.order_id], LONG)
    assert (await sale.order(dead)).generation == 2
    assert await sale.units() == (9, 1, 0)


async def test_a_settlement_on_an_earlier_generation_is_refused(sale: Sale) -> None:
    """Its payment was given back, so neither it confirms the order nor its failure ends what is processed now."""
    await sale.product()
    letter = await sale.dead_letter()
    await sale.dead_letters.requeue([letter.order_id], LONG)
    await sale.take()
    for status in (Status.CONFIRMED, Status.FAILED):
        late = await sale.settle(letter, status, payment_id="p-0", generation=0)
        assert (late.result, late.status) == (SettleResult.REFUSED, Status.PROCESSING)
    assert (await sale.settle(letter, payment_id="p-1", generation=1)).result is SettleResult.SETTLED
    assert (await sale.settle(letter, payment_id="p-0", generation=0)).result is SettleResult.REFUSED
    assert (await sale.order(letter)).payment_id == "p-1"
    assert await sale.units() == (9, 0, 1)


async def test_requeue_sells_nothing_that_is_not_there(sale: Sale) -> None:
    """Units sold meanwhile are gone, a limit used up stays used up; the letter stays on the list."""
    await sale.product("phone", stock=1)
    await sale.product("watch", limit=1)
    phone, watch = await sale.dead_letter("phone"), await sale.dead_letter("watch")
    await sale.buy("phone", "bob")
    await sale.buy("watch")
    unknown = "00" + "0" * 28
    assert await sale.dead_letters.requeue([phone.order_id, unknown, watch.order_id], LONG) == {
        phone.order_id: Requeued.SOLD_OUT,
        unknown: Requeued.UNKNOWN_ORDER,
        watch.order_id: Requeued.LIMIT_EXCEEDED,
    }
    assert len(await sale.dead_letters.list()) == 2
    assert await sale.order(phone) == phone


async def test_only_dead_letters_are_requeued_or_dropped(sale: Sale) -> None:
    """An order that was declined, or waits, is no dead letter; a letter is requeued once."""
    await sale.product()
    declined = await sale.buy()
    await sale.take()
    await sale.settle(declined, Status.FAILED, "declined")
    pending = await sale.buy()
    ids = [declined.order_id, pending.order_id]
    assert set((await sale.dead_letters.requeue(ids, LONG)).values()) == {Requeued.NOT_DEAD}
    assert set((await sale.dead_letters.drop(ids)).values()) == {False}
    letter = await sale.dead_letter()
    assert (await sale.dead_letters.requeue([letter.order_id], LONG))[letter.order_id] is Requeued.REQUEUED
    assert (await sale.dead_letters.requeue([letter.order_id], LONG))[letter.order_id] is Requeued.NOT_DEAD


async def test_a_dropped_letter_stays_failed(sale: Sale) -> None:
    """It leaves the list and nothing else changes."""
    await sale.product()
    letter = await sale.dead_letter()
    assert await sale.dead_letters.drop([letter.order_id]) == {letter.order_id: True}
    assert await sale.dead_letters.drop([letter.order_id]) == {letter.order_id: False}
    assert (await sale.dead_letters.list(), await sale.order(letter)) == ([], letter)
    assert await sale.dead_letters.requeue([letter.order_id], LONG) == {letter.order_id: Requeued.NOT_DEAD}


async def test_letters_of_all_shards_are_listed_in_the_order_of_their_death(store: Redis) -> None:
    """The first to die comes first, a bounded number of them."""
    sale = await Sale.open(store, count=3)
    letters = []
    for name in ("a", "b", "c", "d", "a"):
        await sale.product(name)
        order = await sale.buy(name)
        await sale.take(shard=sale.shards.of(name))
        await sale.under(attempts=1).defer(order)
        letters.append(order.order_id)
        died = (await sale.order(order)).settled_at
        assert died is not None
        await wait_until(partial(_later, sale, died), what="a later millisecond")
    assert [letter.order_id for letter in await sale.dead_letters.list()] == letters
    assert [letter.order_id for letter in await sale.dead_letters.list(2)] == letters[:2]
    await sale.dead_letters.requeue(letters, timedelta(hours=1))
    assert (await sale.snapshot()).requeued == 5
    await sale.dump()


async def _later(sale: Sale, moment: datetime) -> bool:
    return (await sale.snapshot()).taken_at > moment


async def test_a_dead_letter_keeps_what_it_is_to_be_paid_with(sale: Sale) -> None:
    """The worker that begins it anew is told; whoever else reads it is not, and when it is dropped it is forgotten."""
    await sale.product()
    paid_with = "tok-1"
    (placed,) = await sale.place(replace(sale.request(), reference="r-1", payment_token=paid_with))
    assert placed.order is not None
    (begun,) = await sale.take()
    assert begun.order is not None
    assert (begun.order.reference, begun.order.payment_token) == ("r-1", "tok-1")
    assert "tok-1" not in repr(begun.order)
    for _ in range(2):
        assert await sale.under(attempts=1).defer(placed.order) == "dead"
        read = await sale.order(placed.order)
        assert (read.reference, read.payment_token) == ("r-1", "")
        await sale.dead_letters.requeue([placed.order.order_id], LONG)
        (begun,) = await sale.take()
        assert begun.order is not None
        assert (begun.order.reference, begun.order.payment_token) == ("r-1", "tok-1")
    await sale.under(attempts=1).defer(placed.order)
    await sale.dead_letters.drop([placed.order.order_id])
    key = b"{fs:00}:o:" + bytes.fromhex(placed.order.order_id[2:])
    command: Any = sale.shards.client.execute_command
    kept = await command("GET", key, NEVER_DECODE=True)
    assert b"r-1" in kept
    assert b"tok-1" not in kept
