"""Every step may be sent twice: a client that lost the reply does, and must neither do harm nor be misled.

Each step is told to a store once and to another one twice, with the very same arguments. The books must be the same,
the counts of the present second too, whichever of the two replies got through.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from service.ledger.ledger import ledger_scripts
from service.ledger.orders import Status
from service.ledger.refunds import Refund, refund_order
from service.store import Shards
from tests.orders.sale import AT_ONCE, LONG, Sale, ShardsTwice, outcomes

Step = Callable[[Sale, Sale], Awaitable[Any]]


async def place(_: Sale, twice: Sale) -> Any:
    """Lists with refusals and keys in them."""
    wanted = [twice.request(user_id=user, quantity=6) for user in "ab"]
    wanted += [twice.request(user_id="c", quantity=4, key="k"), twice.request("ghost", user_id="d")]
    return outcomes(await twice.place(*wanted))


async def forget(sale: Sale, twice: Sale) -> Any:
    """Orders that ended are booked as forgotten once, the next ones in their turn; how many is nobody's concern."""
    for user in ("a", "b"):
        order = await sale.buy(user_id=user, quantity=2)
        await sale.take()
        await sale.settle(order)
    await sale.ledger.cancel((await sale.buy(user_id="c")).order_id)
    await sale.buy(user_id="d")
    await twice.under(retention=AT_ONCE).ledger.forget(0)


async def claim(_: Sale, twice: Sale) -> Any:
    """A key for two requests."""
    return await twice.ledger.claim(0, [("digest", "one"), ("digest", "two")])


async def begin(sale: Sale, twice: Sale) -> Any:
    """The attempt is counted once, and the wait is told."""
    await sale.buy(user_id="a")
    begun = await twice.begin(*await sale.deliver())
    return [(one.result, one.order and one.order.attempts, one.wait is not None) for one in begun]


async def begin_again(sale: Sale, twice: Sale) -> Any:
    """The second attempt, twice, is not a third; and no wait is told that was told before."""
    await sale.buy(user_id="a")
    entries = await sale.deliver()
    await sale.begin(*entries)
    begun = await twice.begin(*entries)
    return [(one.result, one.order and one.order.attempts, one.wait is not None) for one in begun]


async def begin_the_last(sale: Sale, twice: Sale) -> Any:
    """The last attempt allowed is not the one too many."""
    await sale.buy(user_id="a")
    begun = await twice.under(attempts=1).begin(*await sale.deliver())
    return [one.result for one in begun]


async def begin_one_too_many(sale: Sale, twice: Sale) -> Any:
    """The worker hears that the order is dead, because it has to look after the payment."""
    await sale.buy(user_id="a")
    begun = await twice.under(attempts=0).begin(*await sale.deliver())
    return [(one.result, one.order is not None) for one in begun]


async def begin_what_is_over(sale: Sale, twice: Sale) -> Any:
    """An entry of an order whose reservation ended."""
    await sale.under(reservation=AT_ONCE).buy(user_id="a")
    return [one.result for one in await twice.begin(*await sale.deliver())]


async def confirm(sale: Sale, twice: Sale) -> Any:
    """The second time the settlement stands already."""
    order = await sale.buy(user_id="a")
    await sale.take()
    return (await twice.settle(order, payment_id="p")).status


async def fail(sale: Sale, twice: Sale) -> Any:
    """The units go back once."""
    order = await sale.buy(user_id="a", quantity=3)
    await sale.take()
    return (await twice.settle(order, Status.FAILED, "declined")).status


async def defer(sale: Sale, twice: Sale) -> Any:
    """The order is put aside once."""
    order = await sale.buy(user_id="a")
    await sale.take()
    return await twice.defer(order, LONG)


async def defer_the_last(sale: Sale, twice: Sale) -> Any:
    """The worker hears that the order is dead, because it has to look after the payment."""
    order = await sale.buy(user_id="a")
    await sale.take()
    return await twice.under(attempts=1).defer(order)


async def promote(sale: Sale, twice: Sale) -> Any:
    """The order comes back into the queue once; the number is for nobody to rely on."""
    await defer(sale, sale)
    await sale.shards.client.zadd("{fs:00}:delayed", dict.fromkeys((await sale.dump()).orders, 0))
    return await twice.ledger.promote(0) in (0, 1)


async def cancel(sale: Sale, twice: Sale) -> Any:
    """The units go back once, and both times the order is cancelled."""
    order = await sale.buy(user_id="a", quantity=3)
    return (await twice.ledger.cancel(order.order_id))[0]


async def expire(sale: Sale, twice: Sale) -> Any:
    """The units go back once."""
    await sale.under(reservation=AT_ONCE).buy(user_id="a", quantity=3)
    return len(await twice.ledger.expire(0)) in (0, 1)


async def reclaim(sale: Sale, twice: Sale) -> Any:
    """The entries are the caller's, in the reply or in its own pending list."""
    await sale.buy(user_id="a")
    await sale.deliver("w1")
    await sale.ledger.leave(0, "w1")
    await twice.ledger.reclaim(0, "w2", LONG, 10)
    mine = await sale.shards.client.xpending_range("{fs:00}:queue", "workers", "-", "+", 10, "w2")
    return len(mine)


async def leave(sale: Sale, twice: Sale) -> Any:
    """The entries stay for the next worker."""
    await sale.buy(user_id="a")
    await sale.deliver("w1")
    return await twice.ledger.leave(0, "w1")


async def requeue(sale: Sale, twice: Sale) -> Any:
    """The units are reserved anew once."""
    letter = await sale.dead_letter(user_id="a", quantity=3)
    return (await twice.dead_letters.requeue([letter.order_id], LONG))[letter.order_id]


async def drop(sale: Sale, twice: Sale) -> Any:
    """The letter is off the list."""
    letter = await sale.dead_letter(user_id="a")
    return letter.order_id in await twice.dead_letters.drop([letter.order_id])


async def restock(_: Sale, twice: Sale) -> Any:
    """The units come once."""
    return (await twice.catalogue.restock("phone", 5))[0]


async def take_units_out(_: Sale, twice: Sale) -> Any:
    """The last units go once, and that is no refusal."""
    return (await twice.catalogue.restock("phone", -10))[0]


async def put(sale: Sale, twice: Sale) -> Any:
    """The difference is booked once, and a product is made once."""
    await sale.buy(user_id="a", quantity=2)
    return (await twice.product(stock=50))[0], (await twice.product("new", stock=3))[0]


async def patch(_: Sale, twice: Sale) -> Any:
    """The difference is booked once."""
    return (await twice.catalogue.patch("phone", stock=3, limit=4))[0]


async def refuse(_: Sale, twice: Sale) -> Any:
    """A lot of refusals counts once, and the next one too."""
    await twice.ledger.refuse("api-0", 1, {"rate_limited": 3, "sold_out": 1})
    await twice.ledger.refuse("api-0", 2, {"rate_limited": 1})


async def refunds(sale: Sale, twice: Sale) -> Any:
    """A payment that is owed stays on the list until it is reported as given back; then it leaves."""
    order = await sale.dead_letter(user_id="a")
    await sale.shards.client.zadd("{fs:00}:refunds", {order.payment_key: 0})
    owed = await sale.ledger.refunds(0, LONG, 10)
    return [one.payment_key == order.payment_key for one in owed], await twice.ledger.refunds(0, LONG, 10, owed)


async def refund(sale: Sale, twice: Sale) -> Any:
    """The units of a confirmed order return once, and its money is owed once."""
    order = await sale.buy(user_id="a", quantity=3)
    await sale.take()
    await sale.settle(order)
    answers = [
        await refund_order(twice.shards, Refund(order_id=order.order_id, quantity=units)) for units in (1, None, None)
    ]
    owed = await sale.ledger.refunds(0, LONG, 10)
    return [(one.result, one.replayed) for one in answers], sorted((one.part, one.units) for one in owed)


async def lease(_: Sale, twice: Sale) -> Any:
    """Who has the lease keeps it, and nobody else gets it."""
    return [await twice.shards.run("lease", 0, "name", holder, 60_000) for holder in ("me", "you")]


async def turn(_: Sale, twice: Sale) -> Any:
    """As the lease, which a turn keeps before it reads."""
    return [(await twice.shards.run("turn", 0, "name", holder, 60_000))[0] for holder in ("me", "you")]


async def beat(_: Sale, twice: Sale) -> Any:
    """A sign of life changes nothing that the books hold."""
    return await twice.shards.run("beat", 0)


async def mend(sale: Sale, twice: Sale) -> Any:
    """Orders that lost their queue stand in it once; what the audit is told of it, once, is taken away here."""
    for buyer in "abc":
        await sale.buy(user_id=buyer)
    await sale.shards.client.delete("{fs:00}:queue")
    await twice.ledger.mend(0)
    noted = await sale.shards.client.hlen("{fs:00}:damaged")
    await sale.shards.client.delete("{fs:00}:damaged")
    return noted


STEPS: tuple[Step, ...] = (
    *(place, claim, begin, begin_again, begin_the_last, begin_one_too_many, begin_what_is_over, confirm, fail),
    *(defer, defer_the_last, promote, cancel, expire, reclaim, leave, requeue, drop),
    *(restock, take_units_out, put, patch, refuse, refund, refunds, lease, turn, forget, beat, mend),
)


async def told(store: Redis, step: Step, shards: type[Shards], kept: int) -> tuple[Any, dict[str, Any]]:
    """Tell an empty store all that comes before the step once, and the step as `shards` does."""
    await store.flushdb()
    sale = await Sale.open(store)
    await sale.product(stock=10)
    teller = shards(store, sale.shards.scripts)
    if isinstance(teller, ShardsTwice):
        teller.kept = kept
    answer = await step(sale, Sale(teller))
    return answer, await figures(sale)


async def figures(sale: Sale) -> dict[str, Any]:
    """Return all that the books say, with buyers in place of order ids and no times."""
    dump = await sale.dump()
    name = {order_id: order.user_id for order_id, order in dump.orders.items()}
    counted: Counter[str] = Counter()
    async for key in sale.shards.client.scan_iter(match="*:second:*"):
        row = await sale.shards.client.hgetall(key)
        counted.update({field: int(row.get(field, 0)) for field in ("settled", "failed", "promised")})
    return {
        "orders": {
            order.user_id: (
                order.status,
                order.quantity,
                order.attempts,
                order.reason,
                order.payment_id,
                order.generation,
            )
            for order in dump.orders.values()
        },
        "products": [(p.product_id, p.stock, p.held, p.sold, p.restocked, p.archived) for p in dump.snapshot.products],
        "places": [sorted(name[order] for order in where) for where in (dump.queued, dump.delayed, dump.dead)],
        "buyers": dump.buyers,
        "refused": dump.snapshot.rejections,
        "refunds": len(await sale.shards.client.zrange("{fs:00}:refunds", 0, -1)),
        "told": dump.snapshot.events,
        "totals": (dump.snapshot.orders, dump.snapshot.requeued, dump.snapshot.archived, dump.snapshot.revenue),
        "queue": (dump.snapshot.queue_length, dump.snapshot.processing),
        "counted": counted,
    }


@pytest.mark.parametrize("kept", [0, 1], ids=["first reply", "second reply"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
async def test_a_step_sent_twice_counts_once(store: Redis, step: Step, kept: int) -> None:
    """The same books, the same counts, and an answer that the caller can act on in the same way."""
    once = await told(store, step, Shards, 0)
    twice = await told(store, step, ShardsTwice, kept)
    assert once == twice


def test_every_step_is_told_twice() -> None:
    """A script that writes and is not tried here would be a gap: new scripts have to come here."""
    reads = {*("dump", "dead", "due", "events", "order", "orders", "past", "product", "products", "snapshot")}
    reads |= {"ticket_key"}
    told_here = {*("beat", "begin", "cancel", "claim", "defer", "drop", "expire", "forget", "lease", "leave", "mend")}
    told_here |= {"place", "promote", "reclaim", "refund", "refunds", "refuse", "requeue", "settle", "stock", "turn"}
    # at each start; counts twice on purpose; test_feed, test_migration, test_lost_orders, test_ledger_reads; tickets
    elsewhere = {"group", "rate", "trim", "migrate", "lose", "note_past", "ticket"}
    elsewhere |= {"webhook"}  # test_webhook_places
    assert set(ledger_scripts()) == reads | told_here | elsewhere
