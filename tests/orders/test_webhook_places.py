"""How far the webhook was told is kept in the store, and what went before it was told is counted."""

import pytest
from redis.asyncio import Redis

from service.ledger.feed import Feed
from service.ledger.refunds import Refund, refund_order
from service.ledger.webhook_places import WebhookPlaces
from telemetry.testing import Capture
from tests.orders.sale import AT_ONCE, Sale, ShardsTwice
from tests.orders.telling import none_behind, sell, telling
from tests.support import wait_until
from tests.support.webhooks import Receiver

pytestmark = pytest.mark.usefixtures("quick_webhooks")


async def test_what_went_before_it_was_told_is_counted(
    sale: Sale, receiver: tuple[Receiver, str], seen: Capture
) -> None:
    """What is no longer kept is counted once it was the webhook's to tell; then it goes on with what is kept."""
    told, url = receiver
    await sale.product(stock=100)
    await sell(sale, "never-told")
    assert not await sale.under(events_retention=AT_ONCE).ledger.trim(0)
    assert (await sale.snapshot()).webhook_expired == 0, "there was no webhook"
    async with telling(sale, url, seen):
        await sell(sale, "ann")
        await wait_until(lambda: len(told.taken) == 2, 10, "all is told")
        await wait_until(lambda: none_behind(sale), 5, "the place moves on")
    await sell(sale, "bob", "cid")
    assert not await sale.under(events_retention=AT_ONCE).ledger.trim(0)
    assert (await sale.snapshot()).webhook_expired == 4
    await sell(sale, "dan")
    async with telling(sale, url, seen):
        await wait_until(lambda: len(told.taken) == 4, 10, "it goes on")
        await wait_until(lambda: none_behind(sale), 5, "the place moves on")
    assert not await sale.under(events_retention=AT_ONCE).ledger.trim(0)
    assert (await sale.snapshot()).webhook_expired == 4, "what was told and goes is not missed"
    assert [event["data"]["user_id"] for event in told.taken] == ["ann", "ann", "dan", "dan"]


async def test_a_refund_that_was_not_told_is_counted(sale: Sale) -> None:
    """Its words are of another length; of an entry that was told in part only the rest counts."""
    await sale.product(stock=100)
    places = WebhookPlaces(sale.shards)
    await places.read(0)
    (order,) = await sell(sale, "ann")
    await refund_order(sale.shards, Refund(order_id=order.order_id, reason="broken"))
    await sale.place(*(sale.request(user_id=f"user-{number}") for number in range(3)))
    last = (await Feed(sale.shards).read(None, 100)).changes[-3]
    await places.move(0, last.end)
    assert not await sale.under(events_retention=AT_ONCE).ledger.trim(0)
    assert (await sale.snapshot()).webhook_expired == 2


async def test_a_place_never_moves_back(sale: Sale, store: Redis) -> None:
    """Whoever is late, and whoever says it twice: what was told by another is not told again."""
    await sale.product()
    await sell(sale, "ann", "bob")
    places = WebhookPlaces(ShardsTwice(store, sale.shards.scripts))
    ends = [change.end for change in (await Feed(sale.shards).read(None, 100)).changes]
    for end in (ends[0], ends[2], ends[1], ends[0], ends[2]):
        await places.move(0, end)
    assert await places.read(0) == ends[2]
    many = ends[2]._replace(read=10)
    await places.move(0, many)
    await places.move(0, many._replace(read=9))
    assert await places.read(0) == many, "numbers are compared, not letters"
