"""Webhooks: order changes at the merchant's endpoint, whatever it answers; verified by a library of another maker."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis
from starlette.responses import RedirectResponse, Response, StreamingResponse

from service.ledger.feed import Feed
from service.ledger.orders import Order
from service.webhooks import attempts as pauses
from service.webhooks import delivery
from telemetry.testing import Capture
from tests.orders.sale import Sale
from tests.orders.telling import behind, lag, none_behind, sell, telling
from tests.support import wait_until
from tests.support.webhooks import Mood, Receiver, takes

pytestmark = pytest.mark.usefixtures("quick_webhooks")


async def test_each_change_is_told_in_order(sale: Sale, receiver: tuple[Receiver, str], seen: Capture) -> None:
    """Signed, with the id and the body of `GET /events`; then nothing is left to tell."""
    told, url = receiver
    await sale.product(stock=100)
    orders = await sell(sale, *(f"user-{number}" for number in range(20)))
    assert await lag(sale) > 0
    async with telling(sale, url, seen):
        await wait_until(lambda: len(told.taken) == 40, 20, "all is told")
        later = await sale.buy(user_id="late")
        await wait_until(lambda: len(told.taken) == 41, 5, "what comes is told, too")
        await wait_until(lambda: none_behind(sale), 5, "the place moves on")
    assert told.told() == {order.order_id: ["pending", "confirmed"] for order in orders} | {later.order_id: ["pending"]}
    page = await Feed(sale.shards).read(None, 100)
    assert {event["id"] for event in told.taken} == {change.event_id for change in page.changes}
    assert seen.value("flash_sale_webhook_deliveries_total", result="delivered") == 41
    async with telling(sale, url, seen):
        await sale.ledger.cancel(later.order_id)
        await wait_until(lambda: len(told.taken) == 42, 10, "another process goes on where the first one ended")
    assert len(told.asked) == 42


@pytest.mark.parametrize(
    "answer",
    [
        Response(status_code=500),
        Response(status_code=429, headers={"Retry-After": "1"}),
        RedirectResponse("/elsewhere"),
        Response(status_code=404),
    ],
    ids=lambda answer: str(answer.status_code),
)
async def test_what_is_refused_is_told_again(
    sale: Sale, receiver: tuple[Receiver, str], seen: Capture, answer: Response
) -> None:
    """In order, and nothing twice but what had no good answer; a redirect is no good answer."""
    told, url = receiver
    told.mood = lambda event: takes(event) if len(told.asked) > 4 else answer
    await sale.product()
    orders = await sell(sale, "ann", "bob", "cid")
    async with telling(sale, url, seen):
        await wait_until(lambda: len(told.taken) == 6, 20, "all is told")
    assert told.told() == {order.order_id: ["pending", "confirmed"] for order in orders}
    assert len(told.taken) == 6
    assert told.elsewhere == 0
    assert seen.value("flash_sale_webhook_deliveries_total", result="failed") == 4


async def test_an_endpoint_that_wants_no_more_is_left_alone(
    sale: Sale, receiver: tuple[Receiver, str], seen: Capture
) -> None:
    """410: one attempt or those that were on their way; the sale goes on, and nothing is forgotten."""
    told, url = receiver
    told.mood = lambda _: Response(status_code=410)
    await sale.product()
    (order,) = await sell(sale, "ann")
    async with telling(sale, url, seen):
        await wait_until(lambda: told.asked, 10, "it was asked")
        await sell(sale, "bob")
        await wait_until(lambda: behind(sale, 1.2), 10, "some rounds pass")
    assert len(told.asked) == 1
    assert seen.value("flash_sale_webhook_deliveries_total", result="gone") == 1
    told.mood = takes
    async with telling(sale, url, seen):
        await wait_until(lambda: len(told.taken) == 4, 10, "a worker that is started tries again")
    assert told.told()[order.order_id] == ["pending", "confirmed"]


def refuses(order: Order) -> Mood:
    """Refuse the first event of an order, and take all others."""

    def answer(event: dict[str, Any]) -> Response:
        bad = event["subject"] == order.order_id and event["data"]["status"] == "pending"
        return Response(status_code=400) if bad else takes(event)

    return answer


async def test_an_event_that_is_refused_holds_up_its_order_alone(
    sale: Sale, receiver: tuple[Receiver, str], seen: Capture
) -> None:
    """It is tried again for as long as there is room; all others come meanwhile, and it comes when it is taken."""
    told, url = receiver
    await sale.product()
    orders = await sell(sale, "ann", "bob", "cid")
    told.mood = refuses(orders[0])
    async with telling(sale, url, seen):
        await wait_until(lambda: len(told.taken) == 4 and len(told.asked) > 10, 20, "all is told of the other orders")
        assert await lag(sale) > 0, "what was refused is not forgotten"
        told.mood = takes
        await wait_until(lambda: len(told.taken) == 6, 20, "all is told")
        await wait_until(lambda: none_behind(sale), 5, "the place moves on")
    assert told.told() == {order.order_id: ["pending", "confirmed"] for order in orders}
    assert len(told.taken) == 6


async def test_refused_events_do_not_hold_up_the_rest_for_ever(
    sale: Sale, receiver: tuple[Receiver, str], seen: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they are too many to read on they are given up, and said so; not while the endpoint takes nothing."""
    monkeypatch.setattr(pauses, "ATTEMPTS_BEFORE_GIVING_UP", 4)
    monkeypatch.setattr(delivery, "READ_AHEAD", 4)
    told, url = receiver
    await sale.product()
    first, second = await sell(sale, "ann", "bob")
    told.mood = lambda _: Response(status_code=503)
    async with telling(sale, url, seen):
        await wait_until(lambda: len(told.asked) > 20, 20, "each was tried often")
        assert seen.value("flash_sale_webhook_deliveries_total", result="given_up") == 0
        told.mood = refuses(first)
        await wait_until(lambda: len(told.taken) == 3, 20, "all but one is told")
        (third,) = await sell(sale, "cid")
        await wait_until(lambda: len(told.taken) == 5, 20, "what comes later, too")
        await wait_until(lambda: none_behind(sale), 5, "the place moves on")
    assert told.told() == {first.order_id: ["confirmed"]} | {
        order.order_id: ["pending", "confirmed"] for order in (second, third)
    }
    assert seen.value("flash_sale_webhook_deliveries_total", result="given_up") == 1


async def test_an_answer_without_end(sale: Sale, receiver: tuple[Receiver, str], seen: Capture) -> None:
    """Its status counts; what it goes on to say is not waited for."""
    forever = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(32):
            yield b"x" * 65536
        await forever.wait()

    told, url = receiver
    told.mood = lambda _: StreamingResponse(endless(), status_code=200)
    await sale.product()
    await sell(sale, "ann", "bob")
    async with telling(sale, url, seen):
        await wait_until(lambda: len(told.taken) == 4, 20, "all is told")
        await wait_until(lambda: none_behind(sale), 5, "the place moves on")
    forever.set()


async def test_an_endpoint_that_hangs(sale: Sale, receiver: tuple[Receiver, str], seen: Capture) -> None:
    """The sale goes on beside it, few requests hang, and each is given its time; then all is told, in order."""
    mended = asyncio.Event()

    async def hangs(event: dict[str, Any]) -> Response:
        await mended.wait()
        return takes(event)

    told, url = receiver
    told.mood = hangs
    await sale.product(stock=1000)
    orders = await sell(sale, *(f"user-{number}" for number in range(40)))
    async with telling(sale, url, seen, within=0.5):
        await wait_until(lambda: told.asked, 10, "it was asked")
        orders += await sell(sale, *(f"other-{number}" for number in range(40)))
        assert not told.taken, "160 steps of the sale had to wait for no answer"
        await wait_until(
            lambda: (seen.value("flash_sale_webhook_deliveries_total", result="failed") or 0) > pauses.MAX_CONNECTIONS,
            20,
            "it is tried again",
        )
        assert len(told.asked) < 2 * pauses.MAX_CONNECTIONS, "one by one after the first ones"
        told.mood = takes
        mended.set()
        wanted = {order.order_id: ["pending", "confirmed"] for order in orders}
        await wait_until(lambda: told.told() == wanted, 20, "all is told")


def hangs_for(order: Order, end: asyncio.Event) -> Mood:
    """Answer nothing about one order until the end, and take all others."""

    async def answer(event: dict[str, Any]) -> Response:
        if event["subject"] == order.order_id:
            await end.wait()
        return takes(event)

    return answer


async def test_an_answer_that_hangs_holds_up_its_order_alone(
    sale: Sale, receiver: tuple[Receiver, str], seen: Capture
) -> None:
    """What is sold while the endpoint is silent about one order is told at once; then that order, in its order."""
    told, url = receiver
    await sale.product(stock=1000)
    (silent,) = await sell(sale, "ann")
    told.mood = hangs_for(silent, end := asyncio.Event())
    async with telling(sale, url, seen, within=60):
        await wait_until(lambda: told.asked, 10, "it was asked")
        orders = [silent]
        for part in range(3):
            orders += await sell(sale, *(f"user-{part}-{number}" for number in range(pauses.MAX_CONNECTIONS)))
            await wait_until(lambda: len(told.taken) == 2 * len(orders) - 2, 10, "the others are told meanwhile")  # noqa: B023
        assert [event["subject"] for event in told.asked].count(silent.order_id) == 1, "one attempt is under way"
        assert await lag(sale) > 0, "the place does not move past what was not told"
        end.set()
        await wait_until(lambda: none_behind(sale), 10, "all is told")
    assert told.told() == {order.order_id: ["pending", "confirmed"] for order in orders}
    assert len(told.asked) == len(told.taken) == 2 * len(orders)


async def test_an_order_that_is_never_answered_costs_the_others_nothing(
    sale: Sale, receiver: tuple[Receiver, str], seen: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is tried again: pauses are its own once others were taken, and it takes no turn of theirs."""
    told, url = receiver
    await sale.product(stock=1000)
    (silent,) = await sell(sale, "ann")
    told.mood = hangs_for(silent, end := asyncio.Event())
    failed = partial(seen.value, "flash_sale_webhook_deliveries_total", result="failed")
    async with telling(sale, url, seen, within=1):
        await wait_until(lambda: (failed() or 0) >= 2, 10, "the endpoint answers nobody, as far as is known")
        await sell(sale, "bob")
        await wait_until(lambda: len(told.told()) == 1, 10, "it answers others")
        monkeypatch.setattr(pauses, "MAX_ENDPOINT_PAUSE_SECONDS", 60.0)
        monkeypatch.setattr(pauses, "FIRST_PAUSE_SECONDS", 60.0)  # of an endpoint that were left alone now
        before = failed() or 0
        await wait_until(lambda: (failed() or 0) > before, 10, "it was tried once more")
        await sell(sale, *(f"user-{number}" for number in range(20)))
        await wait_until(lambda: len(told.told()) == 21, 10, "the others are told at once")
    end.set()


async def test_no_more_attempts_are_under_way_than_there_are_connections(
    sale: Sale, receiver: tuple[Receiver, str], seen: Capture
) -> None:
    """Of events that failed before half as many: those that never were tried have room, too."""
    told, url = receiver
    most, now = Counter[str](), Counter[str]()

    async def slow_to_refuse(event: dict[str, Any]) -> Response:
        kind = "again" if [one["id"] for one in told.asked].count(event["id"]) > 1 else "first"
        now[kind] += 1
        most[kind] = max(most[kind], now[kind])
        most["all"] = max(most["all"], now.total())
        refused = event["data"]["user_id"].startswith("refused")
        await asyncio.sleep(0.3 if refused else 0.01)  # it is an endpoint that takes its time
        now[kind] -= 1
        return Response(status_code=500) if refused else takes(event)

    told.mood = slow_to_refuse
    await sale.product(stock=1000)
    await sell(sale, *(f"refused-{number}" for number in range(12)))
    async with telling(sale, url, seen):
        for number in range(6):
            await sell(sale, *(f"user-{number}-{n}" for n in range(10)))
            await wait_until(lambda: len(told.taken) == 20 * (number + 1), 10, "the others are told")  # noqa: B023
    assert 0 < most["again"] <= pauses.MAX_CONNECTIONS // 2
    assert most["all"] <= pauses.MAX_CONNECTIONS


async def test_two_workers_tell_one_at_a_time(
    sale: Sale, store: Redis, receiver: tuple[Receiver, str], seen: Capture
) -> None:
    """No event comes twice while both live; when the first ends, the second goes on by itself."""
    told, url = receiver
    await sale.product(stock=100)
    async with telling(await Sale.open(store), url, seen):
        await sell(sale, *(f"user-{number}" for number in range(5)))
        async with telling(sale, url, seen):
            await wait_until(lambda: len(told.taken) == 10, 20, "all is told")
        await sell(sale, *(f"other-{number}" for number in range(5)))
        await wait_until(lambda: len(told.taken) == 20, 20, "the other goes on")
    assert len(told.asked) == 20
    assert all(types == ["pending", "confirmed"] for types in told.told().values())


def test_pauses_double_and_have_an_end() -> None:
    """With jitter, so that many who failed at one time do not come back at one time."""
    few = [pauses.pause_after(failures, 0.2) for failures in (1, 2, 3, 100)]
    for pause, longest in zip(few, (0.02, 0.04, 0.08, 0.2), strict=True):
        assert longest / 2 <= pause <= longest
