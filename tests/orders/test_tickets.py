"""A sale by ticket in the ledger: the lot is fair, turns come in its order, and nobody gets in another way."""

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from service.ledger.audit import dump_ledger, violations
from service.ledger.orders import Outcome
from service.ledger.tickets import INVALID, SaleTickets, TicketOutcome
from service.store import keys
from tests.orders.sale import Sale, ShardsTwice
from tests.orders.ticket_sale import EARLIER, PHONE, SOON, WINDOW, TicketSale


@pytest.fixture
def lot(sale: Sale) -> TicketSale:
    """Return a sale by ticket on either server."""
    return TicketSale(sale)


async def test_positions_are_drawn_when_the_sale_opens_and_who_comes_late_comes_after(lot: TicketSale) -> None:
    await lot.offer()
    users = await lot.everybody(30)
    first = await lot.ticket(users[3])
    assert (first.ahead, first.wait, first.given) == (None, None, 30)
    assert (await lot.order(users[3])).outcome is Outcome.SALE_NOT_OPEN
    await lot.open()
    late = [await lot.ticket(name) for name in ("late-1", "late-2")]
    assert [ticket.position for ticket in late] == [31, 32]
    drawn = await lot.in_turn(users)
    assert (await lot.ticket(users[3])).text == first.text
    assert drawn != users
    assert await lot.in_turn(users) == drawn, "it is drawn once"


async def test_turns_come_in_the_order_of_the_lot(lot: TicketSale) -> None:
    """Three units: three tickets at once; whoever does not come delays the others by one window and no more."""
    await lot.offer(stock=3)
    users = await lot.everybody(9)
    await lot.open()
    drawn = await lot.in_turn(users)
    assert [(await lot.ticket(user)).ahead for user in drawn] == [0, 0, 0, 0, 1, 2, 3, 4, 5]
    told = [await lot.order(user) for user in (drawn[8], drawn[3], drawn[0])]
    assert [one.outcome for one in told] == [Outcome.NOT_YOUR_TURN, Outcome.NOT_YOUR_TURN, Outcome.ACCEPTED]
    far, near = told[0].retry_after, told[1].retry_after
    assert far is not None
    assert near is not None
    assert timedelta() < near <= WINDOW < far <= 2 * WINDOW
    await lot.pass_windows(0.9)
    assert (await lot.order(drawn[3])).outcome is Outcome.NOT_YOUR_TURN
    await lot.pass_windows(0.1)
    assert (await lot.order(drawn[5])).outcome is Outcome.NOT_YOUR_TURN, "two units are left, so two more tickets"
    assert (await lot.order(drawn[4])).outcome is Outcome.ACCEPTED
    assert (await lot.order(drawn[1])).outcome is Outcome.ACCEPTED, "a turn that came does not end"
    assert (await lot.order(drawn[2])).outcome is Outcome.SOLD_OUT
    assert await lot.sale.units() == (0, 3, 0)


async def test_a_unit_that_comes_back_is_for_the_next_ticket(lot: TicketSale) -> None:
    """However long all was sold: nobody's turn passed meanwhile."""
    await lot.offer(stock=2)
    users = await lot.everybody(6)
    await lot.open()
    drawn = await lot.in_turn(users)
    bought = [(await lot.order(user)).order for user in drawn[:2]]
    await lot.pass_windows(0)
    assert (await lot.order(drawn[5])).outcome is Outcome.SOLD_OUT
    assert bought[0] is not None
    await lot.sale.ledger.cancel(bought[0].order_id)
    assert (await lot.order(drawn[3])).outcome is Outcome.NOT_YOUR_TURN
    assert (await lot.order(drawn[2])).outcome is Outcome.ACCEPTED


async def test_those_who_never_come_stop_nobody(lot: TicketSale) -> None:
    """Of 1000 tickets the last one alone comes: it waits a hundred windows at most, and is served then."""
    await lot.offer(stock=10)
    args = [["0" * 3, f"{number:012d}"] for number in range(999)]
    flat = [part for pair in args for part in ("phone", *pair)]
    await lot.sale.shards.run("ticket", 0, "k", "c", 15_000, 1000, 1000, *flat)
    await lot.ticket("ann")
    await lot.open()
    ann = await lot.ticket("ann")
    assert ann.wait is not None
    assert ann.position is not None
    windows = -(-(ann.position - 10) // 10)
    assert windows * WINDOW - WINDOW < ann.wait <= windows * WINDOW or windows <= 0
    await lot.pass_windows(windows)
    assert (await lot.ticket("ann")).wait == timedelta()
    assert (await lot.order("ann")).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("field", ["halted", "closes"])
async def test_no_turn_passes_while_nobody_can_order(lot: TicketSale, field: str) -> None:
    await lot.offer(stock=1)
    users = await lot.everybody(4)
    await lot.open()
    drawn = await lot.in_turn(users)
    stopped, resumed = ("paused", "") if field == "halted" else (EARLIER + timedelta(minutes=1), None)
    await lot.sale.catalogue.patch("phone", **{field: stopped})
    await lot.pass_windows(3)
    if field == "halted":
        assert (await lot.ticket(drawn[1])).ahead == 0, "who asks meanwhile moves nothing"
        assert (await lot.ticket(drawn[3])).ahead == 2
    else:
        assert await lot.tickets.give("phone", "ann") == (TicketOutcome.SALE_CLOSED, None)
    await lot.sale.catalogue.patch("phone", **{field: resumed})
    assert (await lot.order(drawn[1])).outcome is Outcome.NOT_YOUR_TURN
    assert (await lot.order(drawn[0])).outcome is Outcome.ACCEPTED


async def test_an_opening_may_be_moved_until_it_was(lot: TicketSale) -> None:
    """Before the lot is drawn the tickets stand; after it, a sale that is to come is another one with another lot."""
    await lot.offer()
    text = (await lot.ticket("ann")).text
    await lot.sale.catalogue.patch("phone", opens=SOON + timedelta(days=1))
    moved = await lot.ticket("ann")
    assert (moved.text, moved.position) == (text, None)
    assert abs(moved.opens_at - SOON - timedelta(days=1)) < timedelta(milliseconds=1)
    await lot.sale.catalogue.patch("phone", opens=None)
    assert (await lot.ticket("ann")).position == 1
    assert (await lot.ticket("bob")).position == 2
    await lot.sale.catalogue.patch("phone", opens=SOON)
    new = await lot.ticket("ann")
    assert (new.position, new.given) == (None, 1)
    assert new.text != text
    await lot.open()
    assert (await lot.order("ann", text)).outcome is Outcome.TICKET_INVALID
    assert (await lot.order("ann", new.text)).outcome is Outcome.ACCEPTED


async def test_no_ticket_and_no_other_one_will_do(lot: TicketSale) -> None:
    await lot.offer()
    await lot.sale.product("watch", opens=SOON)
    await lot.sale.catalogue.patch("watch", admission="ticket")
    anns, bobs = (await lot.ticket("ann")).text, (await lot.ticket("bob")).text
    watch = (await lot.tickets.give("watch", "ann")).ticket
    await lot.open()
    version, lot_round, number, signature = anns.split(".")
    assert watch is not None
    changed = ("A" if signature[0] != "A" else "B") + signature[1:]
    others = [bobs, watch.text, "x", INVALID, "0 0", anns + "A", anns.upper(), "1.0.0." + "ä" * 43]
    others += [f"{version}.{lot_round}.{int(number) + 1}.{signature}", f"{version}.{lot_round}.{number}.{changed}"]
    others += [f"{version}.0{lot_round}.{number}.{signature}", f"{version}.1.{number}.{signature}"]
    for other in others:
        assert (await lot.order("ann", other)).outcome is Outcome.TICKET_INVALID, other
    assert (await lot.order("ann", "")).outcome is Outcome.TICKET_REQUIRED
    assert (await lot.order("ann", anns)).outcome is Outcome.ACCEPTED
    refused = (await lot.sale.snapshot()).rejections
    assert (refused["ticket_invalid"], refused["ticket_required"]) == (len(others), 1)


async def test_a_product_that_is_not_sold_by_ticket_asks_for_none(lot: TicketSale) -> None:
    await lot.sale.product()
    assert await lot.tickets.give("phone", "ann") == (TicketOutcome.NO_TICKET_NEEDED, None)
    assert await lot.tickets.give("nothing", "ann") == (TicketOutcome.UNKNOWN_PRODUCT, None)
    assert (await lot.order("ann", "whatever")).outcome is Outcome.ACCEPTED
    assert await lot.sale.shards.client.hexists(PHONE, "drawn") == 0


async def test_admission_is_a_part_of_the_revision_and_ends_with_the_product(lot: TicketSale) -> None:
    await lot.sale.product()
    before = await lot.sale.catalogue.product("phone")
    await lot.offer()
    after = await lot.sale.catalogue.product("phone")
    assert before is not None
    assert after is not None
    assert (before.by_ticket, after.by_ticket) == (False, True)
    assert before.revision != after.revision
    changed = await lot.sale.catalogue.change("patch", "phone", {"price": 1}, match=after.revision)
    assert changed.product is not None
    await lot.sale.catalogue.archive("phone")
    assert await lot.tickets.give("phone", "ann") == (TicketOutcome.UNKNOWN_PRODUCT, None)
    assert not (await lot.sale.product())[1].by_ticket  # type: ignore[union-attr]


async def test_the_snapshot_tells_how_the_queue_stands(lot: TicketSale) -> None:
    await lot.offer(stock=2)
    users = await lot.everybody(5)
    (product,) = (await lot.sale.snapshot()).products
    assert (product.tickets_given, product.tickets_admitted) == (5, None)
    await lot.open()
    await lot.in_turn(users)
    (product,) = (await lot.sale.snapshot()).products
    assert (product.tickets_given, product.tickets_admitted) == (5, 2)


async def test_a_step_that_is_sent_twice_gives_one_ticket(store: Redis) -> None:
    lot = TicketSale(await Sale.open(store, shards=ShardsTwice))
    await lot.offer()
    assert (await lot.ticket("ann")).given == (await lot.ticket("ann")).given == 1
    await lot.open()
    assert (await lot.order("ann")).outcome is Outcome.ACCEPTED


async def test_a_key_that_was_lost_is_made_anew_and_known_to_all(lot: TicketSale) -> None:
    """Another process holds the old one; it reads the new one as soon as a signature is not right."""
    await lot.offer()
    other = SaleTickets(lot.sale.shards, WINDOW)
    old = (await lot.ticket("ann")).text
    assert await other.checked(old, "phone", "ann") == "0 0"
    await lot.sale.shards.client.delete(f"{keys.prefix(0)}ticket_key")
    new = await lot.ticket("ann")
    assert (new.text != old, new.given) == (True, 1), "the number stays"
    third = SaleTickets(lot.sale.shards, WINDOW)
    assert await third.checked(new.text, "phone", "ann") == "0 0"
    assert await third.checked(old, "phone", "ann") == INVALID


async def test_the_audit_finds_tickets_that_cannot_be(lot: TicketSale) -> None:
    """Two with one number, one that was never given, a lot of more than there are; a lot before is not looked at."""
    client = lot.sale.shards.client
    await lot.offer()
    users = await lot.everybody(30)
    await lot.open()
    await lot.in_turn(users)
    buckets = [key async for key in client.scan_iter(match="*tickets:*")]
    rest = next(iter(await client.hgetall(buckets[0])))

    async def found() -> list[str]:
        return [one.detail for one in violations(await dump_ledger(lot.sale.shards))]

    assert await found() == []
    number = await client.hget(buckets[0], rest)
    for wrong, said in (
        ("30", "1 tickets have numbers beyond the 30"),
        (await client.hget(buckets[1], next(iter(await client.hgetall(buckets[1])))), "1 numbers are on two tickets"),
    ):
        await client.hset(buckets[0], rest, wrong)
        (detail,) = await found()
        assert detail.startswith(f"phone: {said}"), detail
    await client.hset(buckets[0], rest, number)
    await client.hset(PHONE, "drawn", 31)
    assert await found() == ["phone: 31 of 30 tickets took part in its lot, 10 had a turn"]
    await lot.sale.catalogue.patch("phone", opens=SOON)
    await client.hset(buckets[0], rest, "99")
    assert await found() == []
    assert (await lot.ticket("ann")).given == 1


async def test_tickets_of_a_damaged_key_are_given_anew(lot: TicketSale) -> None:
    """What is in the way is put aside; users of other buckets notice nothing."""
    await lot.offer()
    await lot.ticket("ann")
    (bucket,) = [key async for key in lot.sale.shards.client.scan_iter(match="*tickets:*")]
    await lot.sale.shards.client.delete(bucket)
    await lot.sale.shards.client.set(bucket, "foreign")
    assert (await lot.ticket("ann")).given == 2
    await lot.sale.shards.client.hdel(f"{keys.prefix(0)}damaged", f"key {bucket.removeprefix(keys.prefix(0))}")


async def test_a_users_tickets_are_forgotten_after_the_sale(lot: TicketSale) -> None:
    await lot.offer(closes=SOON + timedelta(hours=1))
    await lot.ticket("ann")
    (bucket,) = [key async for key in lot.sale.shards.client.scan_iter(match="*tickets:*")]
    left = timedelta(milliseconds=await lot.sale.shards.client.pttl(bucket))
    assert timedelta(days=1, hours=1) < left < timedelta(days=1, hours=3)
