"""More orders than the workers can do: what is accepted is done in time, the rest is told when to come again."""

from datetime import UTC, datetime, timedelta

import httpx

from service.ledger.orders import Order, Status
from service.ledger.snapshot import Snapshot, take_snapshot
from tests.faults.kit import PRODUCT, Auditor, Load, codes, crowd_plan, fleet, put_product
from tests.support import RedisServer, wait_until
from tests.support.http import http_client

LATENCY_SECONDS = 1.0
CONCURRENCY = 16
CAPACITY = CONCURRENCY / LATENCY_SECONDS
"""So few a second that a busy machine has time for them: what is measured is the service."""
MAX_SECONDS = 4
MEASURED = timedelta(seconds=6)
SLACK_SECONDS = 6
ENV = {
    "PAYMENT_LATENCY_SECONDS": str(LATENCY_SECONDS),
    "ORDER_CONCURRENCY": str(CONCURRENCY),
    "MAX_WAIT_SECONDS": str(MAX_SECONDS),
}


async def goodput(auditor: Auditor) -> tuple[float, float]:
    """Return the orders confirmed a second over some time, by the store's clock, and the share of looks at no line."""
    looks: list[Snapshot] = []

    async def over() -> bool:
        looks.append(await take_snapshot(auditor.shards))
        return looks[-1].taken_at - looks[0].taken_at > MEASURED

    await wait_until(over, 60, "time is over")
    first, last = looks[0], looks[-1]
    done = last.orders[Status.CONFIRMED] - first.orders[Status.CONFIRMED]
    idle = sum(look.waiting == 0 for look in looks) / len(looks)
    return done / ((last.taken_at - first.taken_at) / timedelta(seconds=1)), idle


async def first_refusal(url: str) -> httpx.Response:
    """Order until one is refused."""
    async with http_client(url, timeout=15) as client:

        async def refused() -> httpx.Response | None:
            answer = await client.post("/orders", json={"product_id": PRODUCT, "user_id": "eve", "quantity": 1})
            return answer if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else None

        answer: httpx.Response = await wait_until(refused, 30, "an order is refused")
        return answer


def wait_of(order: Order) -> float:
    """Return the seconds from accepted to settled."""
    assert order.settled_at is not None
    return (order.settled_at - order.accepted_at).total_seconds()


async def test_three_times_too_much_leaves_the_goodput_and_the_waits_alone(
    durable: RedisServer, auditor: Auditor, seed: int
) -> None:
    """The workers always have something to do, and no accepted order waits much longer than it may."""
    async with fleet(durable.url, api=2, env=ENV) as running:
        await put_product(running.url, stock=1_000_000)
        async with Load(crowd_plan(running.url, seed, rate=3 * CAPACITY, concurrency=64)) as load:
            answer = await first_refusal(running.url)
            began = datetime.now(UTC)
            done, idle = await goodput(auditor)
            error = (await take_snapshot(auditor.shards)).eta_error_seconds
        dump = await auditor.at_rest()
    waits = sorted(wait_of(order) for order in dump.orders.values() if order.accepted_at >= began)
    p99 = waits[int(len(waits) * 0.99)]
    figures = f"{done:.1f} of {CAPACITY:.1f}/s, {idle=:.3f}, {p99=:.2f} s, ETA off by {error:.2f} s"
    print(figures)  # noqa: T201 - pytest shows it with a failure
    assert answer.json()["code"] == "overloaded"
    assert 1 <= int(answer.headers["retry-after"]) <= MAX_SECONDS
    assert codes(load.report).keys() <= {(202, "accepted"), (200, "replayed"), (503, "overloaded")}
    assert idle <= 0.05
    assert done >= 0.7 * CAPACITY
    assert p99 <= MAX_SECONDS + 2 * LATENCY_SECONDS + SLACK_SECONDS
    assert abs(error) <= MAX_SECONDS / 2


async def test_while_nobody_works_the_queue_does_not_grow_for_ever(durable: RedisServer, auditor: Auditor) -> None:
    """Once the first order has waited as long as one may, new ones are refused; when it is served they are not."""
    body = {"product_id": PRODUCT, "user_id": "eve", "quantity": 1}
    async with fleet(durable.url, command="api", env=ENV) as api:
        await put_product(api.url, stock=1_000_000)
        answer = await first_refusal(api.url)
        assert answer.json()["code"] == "overloaded"
        assert int(answer.headers["retry-after"]) >= 1
        async with fleet(durable.url, command="worker", env=ENV), http_client(api.url) as client:

            async def accepted() -> bool:
                return (await client.post("/orders", json=body, timeout=15)).status_code == httpx.codes.ACCEPTED

            await wait_until(accepted, 30, "orders are accepted again")
            await auditor.at_rest()
