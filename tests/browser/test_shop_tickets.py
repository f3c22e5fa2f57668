"""The shop page in a sale by ticket: it takes part, waits for its turn, and buys; in a real Chromium."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Route

from tests.browser.conftest import OpenTab
from tests.browser.test_shop_page import choose, orders_of, press_buy, until_state
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop
from tests.support.stores import RedisServer

pytestmark = pytest.mark.needs("chromium")


async def offer(shop: Shop, opens_in: timedelta, stock: int = 1) -> None:
    """Put lamps on sale by ticket."""
    await shop.put(opens_at=(datetime.now(UTC) + opens_in).isoformat(), stock=stock)
    await shop.client.patch("/inventory/lamp", json={"admission": "ticket"}, headers=ADMIN)


async def test_the_shop_takes_part_in_the_lot_and_buys_when_it_is_its_turn(
    valkey_server: RedisServer, open_tab: OpenTab
) -> None:
    """A reload in the middle changes nothing: it is the same ticket, and it buys once."""
    async with open_shop(valkey_server.url) as shop:
        await offer(shop, timedelta(seconds=4))
        tab = await open_tab()
        await choose(tab, shop)
        await press_buy(tab)
        await tab.until_text("ticket-state", "You take part in the lot")
        assert "1 ticket so far" in await tab.text("ticket-detail")
        await tab.page.reload()
        await tab.until_text("ticket-state", "You take part in the lot")
        await until_state(tab, "pending")
        assert len(await orders_of(shop)) == 1


async def test_who_is_not_in_turn_sees_the_place_and_may_leave(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    async with open_shop(valkey_server.url) as shop:
        await offer(shop, timedelta(hours=-1))
        for number in range(3):
            await shop.client.post("/inventory/lamp/tickets", json={"user_id": f"u{number}"})
        tab = await open_tab()
        await choose(tab, shop)
        await press_buy(tab)
        await tab.until_text("ticket-state", "Place 4 of 4: 2 before you have not had their turn")
        assert "Your turn comes in" in await tab.text("ticket-detail")
        await tab.page.get_by_role("button", name="Wait no longer").click()
        await until_state(tab, "refused")
        assert "You wait no longer" in await tab.text("ticket-state")
        assert await orders_of(shop) == []


async def test_a_lost_answer_is_asked_for_again_though_the_sale_is_over(
    valkey_server: RedisServer, open_tab: OpenTab
) -> None:
    """After a reload the order is sent again before any ticket is asked for: there is none any more."""
    async with open_shop(valkey_server.url) as shop:
        await offer(shop, timedelta(hours=-1))
        tab = await open_tab()
        tab.away = True

        async def lose(route: Route) -> None:
            await route.fetch()
            await route.abort()

        await tab.page.route("**/orders", lose)
        await choose(tab, shop)
        await press_buy(tab)
        await tab.until_text("ticket-state", "Not answered yet")
        closes = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        await shop.client.patch("/inventory/lamp", json={"closes_at": closes}, headers=ADMIN)
        await tab.page.unroute("**/orders")
        await tab.page.reload()
        await until_state(tab, "pending")
        assert len(await orders_of(shop)) == 1
