"""One shard of a cluster is down: the others sell on, what is read says what is missing, and all of it comes back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from time import perf_counter
from typing import Any

import httpx
import pytest

from service.ledger.ledger import ledger_scripts
from service.store import Shards, connect, keys
from tests.faults.kit import Auditor, put_product, sale
from tests.support.clusters import Cluster
from tests.support.http import http_client
from tests.support.stores import RedisServer
from tests.support.waiting import wait_until

SHARDS = 6
ENV = {"STORE_SHARDS": str(SHARDS)}
NUMBERS = keys.spread(SHARDS)
PRODUCTS = [f"p{number}" for number in range(12)]
BACK_WITHIN_SECONDS = 20
AT_ONCE_SECONDS = 2.5


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Yield three primaries without replicas; a shard that is down stops no other."""
    with Cluster("valkey", replicas=0, cluster_require_full_coverage="no") as running:
        yield running


@pytest.fixture
async def auditor(cluster: Cluster) -> AsyncIterator[Auditor]:
    """Yield an auditor of the cluster."""
    async with connect(cluster.url, name="auditor", timeout_seconds=5) as client:
        shards = Shards(client, ledger_scripts(), count=SHARDS)
        shards.numbers = NUMBERS
        yield Auditor(shards)


async def order(client: httpx.AsyncClient, product: str, user: str) -> tuple[int, float]:
    """Place an order with an idempotency key; return the status and how long it took."""
    begun = perf_counter()
    body = {"product_id": product, "user_id": user, "quantity": 1}
    answer = await client.post("/orders", json=body, headers={"Idempotency-Key": f"{product}-{user}"})
    return answer.status_code, perf_counter() - begun


async def crowd(client: httpx.AsyncClient, products: list[str], name: str) -> tuple[Counter[int], float]:
    """Place orders for some products at once; return the statuses and the longest time."""
    users = [f"{name}-{number}" for number in range(8)]
    answers = await asyncio.gather(*(order(client, product, user) for product in products for user in users))
    return Counter(status for status, _ in answers), max(seconds for _, seconds in answers)


def kill(node: RedisServer) -> Callable[[], Any]:
    """Kill a node; return how it comes back."""
    node.kill9()
    return node.start


def hang(node: RedisServer) -> Callable[[], Any]:
    """Stop a node in its tracks; return how it goes on."""
    node.pause()
    return node.resume


@pytest.mark.parametrize("strike", [kill, hang])
@pytest.mark.parametrize("shard", [NUMBERS[0], NUMBERS[-1]])
async def test_a_shard_that_is_down_stops_no_other(
    cluster: Cluster, auditor: Auditor, strike: Callable[[RedisServer], Callable[[], Any]], shard: int
) -> None:
    """The first or another, killed or hung: orders, reads, metrics; and the books are right afterwards."""
    victim = cluster.owner(keys.prefix(shard))
    for node in cluster.primaries:
        node.flush()
    async with sale(cluster.url, api_env=ENV, env=ENV) as (api, _):
        for product in PRODUCTS:
            await put_product(api.url, product, stock=1000)
        dead = sorted(number for number in NUMBERS if cluster.owner(keys.prefix(number)) is victim)
        lost = [product for product in PRODUCTS if NUMBERS[keys.shard_of(product, SHARDS)] in dead]
        assert len(dead) == SHARDS // 3, "shards are spread evenly"
        alive = [product for product in PRODUCTS if product not in lost]
        assert lost, "the shard has products"
        assert alive, "the others have products"
        async with http_client(api.url, timeout=15) as client:
            assert (await crowd(client, PRODUCTS, "before"))[0] == {202: 8 * len(PRODUCTS)}
            back = strike(victim)
            try:
                await wait_until(lambda: _missing(client, "/inventory", dead), 5, "the inventory says what is missing")
                await others_sell_on(client, alive, lost, dead)
            finally:
                back()
            await wait_until(lambda: _missing(client, "/inventory", []), BACK_WITHIN_SECONDS, "nothing is missing")
            found, _ = await crowd(client, PRODUCTS, "after")
            assert found == {202: 8 * len(PRODUCTS)}
            dump = await auditor.at_rest(BACK_WITHIN_SECONDS)
            assert len(dump.orders) >= 8 * (2 * len(PRODUCTS) + len(alive))
            await wait_until(lambda: _exact(client, len(dump.orders)), 5, "the metrics are exact")


async def others_sell_on(client: httpx.AsyncClient, alive: list[str], lost: list[str], dead: list[int]) -> None:
    """Assert what is served meanwhile."""
    found, longest = await crowd(client, alive, "meanwhile")
    assert found == {202: 8 * len(alive)}
    assert longest < AT_ONCE_SECONDS
    assert (await order(client, lost[0], "late"))[0] == 503
    assert (await client.get("/readyz")).status_code == 200
    assert {p["product_id"] for p in (await client.get("/inventory")).json()["products"]} == set(alive)
    for path in ("/orders/queue", "/inventory/metrics", "/orders?user_id=before-0", "/monitoring/metrics"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json().get("missing_shards")) == (200, dead), path
    assert (await client.get("/monitoring/health")).json()["missing_shards"] == dead
    settled = (await client.get("/orders?user_id=meanwhile-0")).json()["orders"]
    assert {one["product_id"] for one in settled} == set(alive)

    async def confirmed() -> bool:
        orders = (await client.get("/orders?user_id=meanwhile-0")).json()["orders"]
        return all(one["status"] == "confirmed" for one in orders)

    await wait_until(confirmed, 10, "the worker goes on")

    async def exported() -> bool:
        text = (await client.get("/metrics")).text
        named = [f'flash_sale_inventory_levels{{product_id="{product}"}}' in text for product in alive + lost]
        return f"flash_sale_missing_shards {len(dead)}" in text and named == [True] * len(alive) + [False] * len(lost)

    await wait_until(exported, 5, "the series of the others are exported")


async def _missing(client: httpx.AsyncClient, path: str, shards: list[int]) -> bool:
    answer = await client.get(path)
    return answer.status_code == 200 and answer.json()["missing_shards"] == shards


async def _exact(client: httpx.AsyncClient, orders: int) -> bool:
    text = (await client.get("/metrics")).text
    return f'flash_sale_orders_total{{status="pending"}} {orders}' in text
