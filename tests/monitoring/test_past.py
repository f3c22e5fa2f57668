"""The last minutes of the sale: noted by the fleet, so a process that has just started tells them, too."""

import asyncio
from datetime import datetime
from itertools import pairwise
from typing import Any

from service.monitoring.past import KEPT
from tests.support import RedisServer
from tests.support.shop import Shop, open_shop, problem
from tests.support.waiting import wait_until

Point = dict[str, Any]


async def history(shop: Shop) -> list[Point]:
    """Return the points that the API tells."""
    points: list[Point] = (await shop.client.get("/monitoring/metrics/history")).json()["points"]
    return points


async def test_a_process_that_has_just_started_tells_what_was_before(valkey_server: RedisServer) -> None:
    """Also when the one that noted it is gone; a point a second, not one for each process."""
    async with open_shop(valkey_server.url) as first:
        await first.put()

        async def noted() -> bool:
            points = await history(first)
            return len(points) >= 4 and points[-1]["accepted"] == 1

        await first.order()
        await wait_until(noted, 20, "some seconds are noted")
        async with open_shop(valkey_server.url) as second:
            before = await history(first)
            assert (await history(second))[: len(before)] == before
            await wait_until(lambda: second.service.poller.readings > 3, 20, "the second reads, too")
            times = [datetime.fromisoformat(point["timestamp"]) for point in await history(second)]
            assert times == sorted(times)
            gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
            assert min(gaps) >= 0.6
    async with open_shop(valkey_server.url) as third:
        assert (await history(third))[: len(before)] == before
        assert before[-1].keys() == {"timestamp", "accepted", "throughput", "queue_length"}
        assert (before[-1]["accepted"], before[-1]["queue_length"]) == (1, 1)


async def test_what_is_too_long_ago_is_forgotten(valkey_server: RedisServer) -> None:
    """By whoever notes the next point, and with all of it when nobody does any more."""
    async with open_shop(valkey_server.url) as shop:
        client = shop.service.shards.client
        seconds, micros = await client.time()
        now = seconds * 1000 + micros // 1000
        kept = round(KEPT.total_seconds() * 1000)
        old = '{"timestamp":"2026-01-01T00:00:00Z","accepted":0,"throughput":0,"queue_length":%d}'
        await client.zadd("{fs:00}:past", {old % 1: now - kept - 5000, old % 2: now - kept + 60_000})
        await wait_until(lambda: history_of(shop, {1}), 20, "a point was noted")
        assert (await history(shop))[0]["queue_length"] == 2
        assert 0 < await client.pttl("{fs:00}:past") <= kept


async def history_of(shop: Shop, gone: set[int]) -> bool:
    """Whether none of these lengths is told any more."""
    return not gone & {point["queue_length"] for point in await history(shop)}


async def test_the_past_needs_the_token_that_the_figures_need(valkey_server: RedisServer) -> None:
    async with open_shop(valkey_server.url, monitoring_token="sesame") as shop:  # noqa: S106 - of this test
        problem(await shop.client.get("/monitoring/metrics/history"), 401, "unauthorized")
        answer = await shop.client.get("/monitoring/metrics/history", headers={"Authorization": "Bearer sesame"})
        assert answer.status_code == 200


async def test_many_who_ask_share_a_reading(valkey_server: RedisServer) -> None:
    async with open_shop(valkey_server.url) as shop:
        answers = await asyncio.gather(*(shop.client.get("/monitoring/metrics/history") for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
