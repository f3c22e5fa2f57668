"""The shop page goes by the server's clock and follows its orders, in a real Chromium."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.browser.conftest import OpenTab
from tests.browser.test_shop_page import choose, orders_of, press_buy, until_state
from tests.orders.sale import Sale
from tests.support import wait_until
from tests.support.service import ADMIN
from tests.support.shop import open_shop
from tests.support.stores import RedisServer

pytestmark = pytest.mark.needs("chromium")


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_a_shopper_whose_clock_is_wrong_sees_the_sale_as_it_is(
    valkey_server: RedisServer, open_tab: OpenTab, minutes: int
) -> None:
    """The server's clock alone says what is open, and until when."""
    now = datetime.now(UTC)
    async with open_shop(valkey_server.url) as shop:
        await shop.put("now", name="Now")
        await shop.put("ends", name="Ends", closes_at=(now + timedelta(minutes=7, seconds=30)).isoformat())
        await shop.put("soon", name="Soon", opens_at=(now + timedelta(minutes=5, seconds=30)).isoformat())
        await shop.put("over", name="Over", opens_at="2019-01-01T00:00:00Z", closes_at=now.isoformat())
        await shop.put("rests", name="Rests")
        await shop.client.patch("/inventory/rests", json={"paused": True}, headers=ADMIN)
        tab = await open_tab()
        await tab.page.add_init_script(f"const now = Date.now; Date.now = () => now() + {minutes * 60_000};")
        await tab.page.goto(f"{shop.url}/shop")
        states = tab.page.locator(".choice .quiet")
        await (
            states.nth(3).get_by_text("paused").wait_for()
        )  # it was put a moment ago, and the clock is known to a second
        ends, first, over, rests, soon = await states.all_text_contents()
        assert (first, over, rests) == ("10 left", "The sale is over", "The sale is paused")
        assert re.fullmatch(r"10 left · closes in 7 min \d+ s", ends)
        assert re.fullmatch(r"Opens in 5 min \d+ s", soon)

        async def counted() -> bool:
            return bool(await states.nth(4).text_content() != soon)

        await wait_until(counted, 5, "it counts down")


async def test_an_order_is_followed_without_asking(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """Its place moves up as those before it go; then how it ended is there by itself."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        before = [(await shop.order(user_id=f"u{number}")).json()["order_id"] for number in range(3)]
        tab = await open_tab()
        asked: list[str] = []
        tab.page.on("request", lambda request: asked.append(request.url.removeprefix(shop.url)))
        await choose(tab, shop)
        await press_buy(tab)
        await tab.until_text("ticket-state", "In the queue: place 4")
        await shop.client.post(f"/orders/{before[0]}/cancel")
        await tab.until_text("ticket-state", "In the queue: place 3")
        sale = Sale(shop.service.shards)
        for begun in await sale.take():
            assert begun.order is not None
            await sale.settle(begun.order)
        await until_state(tab, "confirmed")
        order_id = await tab.text("ticket-order")
        assert [path for path in asked if path.startswith("/orders/")] == [f"/orders/{order_id}/events"]
        assert len(shop.service.followers) == 0


async def test_a_shop_that_cannot_follow_asks(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """As behind a proxy that lets no stream through."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        tab = await open_tab()
        tab.away = True
        await tab.page.route("**/events", lambda route: route.abort())
        await choose(tab, shop)
        await press_buy(tab)
        await until_state(tab, "pending")
        (order,) = await orders_of(shop)
        await shop.client.post(f"/orders/{order['order_id']}/cancel")
        await until_state(tab, "cancelled")
