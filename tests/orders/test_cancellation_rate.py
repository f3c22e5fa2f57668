"""Who takes units and gives them back all the time has to wait, whichever process it asks."""

from datetime import timedelta
from itertools import cycle

import pytest
from redis.asyncio import Redis

from service.ledger.orders import Cancellation, Outcome
from tests.orders.sale import Sale, ShardsTwice
from tests.support import wait_until
from tests.support.shop import open_shop, problem
from tests.support.stores import RedisServer


async def cancel_until_refused(sales: list[Sale], user: str, most: int) -> int:
    """Place and cancel at one process after the other; return how often that went."""
    for count, sale in zip(range(most), cycle(sales), strict=False):
        (placed,) = await sale.place(sale.request("phone", user))
        if placed.order is None:
            assert placed.outcome is Outcome.RATE_LIMITED
            return count
        assert (await sale.ledger.cancel(placed.order.order_id))[0] is Cancellation.CANCELLED
    return most


async def test_all_processes_together_take_what_one_takes(store: Redis) -> None:
    first = await Sale.open(store, cancellations_per_minute=7)
    await first.product(stock=100)
    second, third = first.under(cancellations_per_minute=7), first.under(cancellations_per_minute=7)
    assert await cancel_until_refused([first, second, third], "fickle", 30) == 7
    (refused,) = await second.place(second.request("phone", "fickle"))
    assert refused.retry_after is not None
    assert timedelta(seconds=0) < refused.retry_after <= timedelta(minutes=1) / 7
    assert await third.try_buy("phone", "steady") is Outcome.ACCEPTED
    assert await first.under().try_buy("phone", "fickle") is Outcome.ACCEPTED, "without a bound there is none"


async def test_the_time_goes_by_and_another_may_be_placed(store: Redis) -> None:
    sale = await Sale.open(store, cancellations_per_minute=200)
    await sale.product(stock=1000)
    taken = await cancel_until_refused([sale], "fickle", 400)
    assert taken >= 200

    async def again() -> bool:
        return await sale.try_buy("phone", "fickle") is Outcome.ACCEPTED

    await wait_until(again, 10, "an interval of 0.3 s is over")
    assert await store.pttl("{fs:00}:cancels:fickle") <= 2 * 60_000


async def test_a_cancellation_that_is_told_twice_counts_once(store: Redis) -> None:
    sale = await Sale.open(store, shards=ShardsTwice, cancellations_per_minute=5)
    await sale.product(stock=100)
    assert await cancel_until_refused([sale], "fickle", 20) == 5


@pytest.mark.parametrize("times", [1, 3])
async def test_an_order_that_was_placed_before_is_given_again(store: Redis, times: int) -> None:
    """A key is answered as before, also to who has to wait: nothing is placed."""
    sale = await Sale.open(store, cancellations_per_minute=times)
    await sale.product(stock=100)
    first = await sale.buy("phone", "fickle", key="k")
    assert await cancel_until_refused([sale], "fickle", 20) == times
    (again,) = await sale.place(sale.request("phone", "fickle", key="k"))
    assert (again.outcome, again.order) == (Outcome.REPLAYED, first)


async def test_two_api_processes_answer_429_and_count_it(valkey_server: RedisServer) -> None:
    """The refusal is the ledger's: the metrics have it once, and `Retry-After` says when."""
    async with (
        open_shop(valkey_server.url, cancellations_per_minute=4) as one,
        open_shop(valkey_server.url, cancellations_per_minute=4) as other,
    ):
        await one.put(stock=100)
        taken = 0
        for shop in cycle((one, other)):
            answer = await shop.order()
            if answer.status_code != 202:
                break
            taken += 1
            path = f"/orders/{answer.json()['order_id']}/cancel"
            assert (await (other if shop is one else one).client.post(path)).status_code == 200
        assert taken == 4
        problem(answer, 429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 15
        for shop in (one, other):
            await shop.service.rejections.flush()
        snapshot = await one.service.poller.fresh()
        assert snapshot.rejections == {"rate_limited": 1}
