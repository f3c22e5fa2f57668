"""What an API process refuses by itself, from memory: too many orders of one user, too many at one time."""

import asyncio

from tests.support import RedisServer, wait_until
from tests.support.shop import open_shop, problem


async def test_a_user_may_send_so_many_orders_a_second(valkey_server: RedisServer) -> None:
    """A second's worth at once, then 429 with the time to wait; other users are not concerned."""
    async with open_shop(valkey_server.url, rate_limit_per_second=0.05) as shop:
        await shop.put()
        assert (await shop.order()).status_code == 202
        refused = await shop.order()
        problem(refused, 429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert (await shop.order(user_id="eve")).status_code == 202
        assert await shop.rejections(reason="rate_limited") == 1


async def test_what_is_too_much_at_one_time_is_refused_at_once(valkey_server: RedisServer) -> None:
    """503 with `Retry-After` while the store keeps the others waiting; they are served when it goes on."""
    async with open_shop(valkey_server.url, max_in_flight=3, store_timeout_seconds=30) as shop:
        await shop.put()
        valkey_server.pause()
        try:
            tasks = [asyncio.create_task(shop.order(user_id=f"u{n}")) for n in range(8)]
            await wait_until(lambda: sum(task.done() for task in tasks) == 5, 10, "five are refused")
            refused = [task.result() for task in tasks if task.done()]
        finally:
            valkey_server.resume()
        assert len(refused) == 5
        for answer in refused:
            problem(answer, 503, "overloaded")
            assert answer.headers["retry-after"] == "1"
        accepted = [answer for answer in await asyncio.gather(*tasks) if answer not in refused]
        assert [answer.status_code for answer in accepted] == [202] * 3
        assert (await shop.product())["held"] == 3
        assert await shop.rejections(reason="overloaded") == 5
