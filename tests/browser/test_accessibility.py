"""axe-core finds nothing to complain of on any page: wide and narrow, light and dark, full and empty."""

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]

from tests.browser.conftest import OpenTab
from tests.browser.kit import Tab
from tests.orders.sale import Sale
from tests.support.service import ADMIN_TOKEN
from tests.support.shop import Shop, open_shop
from tests.support.stores import RedisServer

pytestmark = pytest.mark.needs("chromium")

WIDE = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}
NARROW = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}


async def fill(shop: Shop) -> None:
    """Sell a little of everything: orders of each kind, products in each state."""
    for number in range(25):
        await shop.put(f"p{number}", name=f"Thing {number}", stock=number)
    await shop.put("later", opens_at="2100-01-01T00:00:00Z")
    sale = Sale(shop.service.shards)
    await sale.dead_letter("p20", "dead")
    await shop.order(product_id="p5", quantity=2)
    for begun in await sale.take():
        assert begun.order is not None
        await sale.settle(begun.order)
    await shop.order(product_id="p6")
    await shop.order(product_id="p0")


async def complaints(tab: Tab) -> list[str]:
    """Return what axe has to say, with where."""
    # The policy lets no page run a text as a script, and a test less; playwright's own world is not bound by it.
    found = await Axe().run(tab.page)
    return [
        f"{broken['id']}: {broken['help']}: {[node['target'] for node in broken['nodes']]}"
        for broken in found.response["violations"]
    ]


@pytest.mark.parametrize(
    ("view", "full"), [(WIDE, True), (NARROW, True), (WIDE, False)], ids=["wide", "narrow", "empty"]
)
async def test_axe_finds_nothing(
    valkey_server: RedisServer, open_tab: OpenTab, view: dict[str, Any], full: bool
) -> None:
    async with open_shop(valkey_server.url) as shop:
        if full:
            await fill(shop)
        tab = await open_tab(**view)
        await tab.page.goto(f"{shop.url}/")
        await tab.page.locator("body[data-state=live]").wait_for()
        assert await complaints(tab) == []
        await tab.page.goto(f"{shop.url}/shop")
        await tab.page.locator(".choice" if full else "#products p").first.wait_for()
        assert await complaints(tab) == []
        await tab.page.goto(f"{shop.url}/operator")
        assert await complaints(tab) == []
        await tab.page.get_by_label("Admin token").fill(ADMIN_TOKEN)
        await tab.page.get_by_role("button", name="Enter").click()
        await tab.page.locator("#rooms").wait_for()
        assert await complaints(tab) == []
        if full:
            await tab.page.locator("#orders button:visible").first.click()
            assert await complaints(tab) == []
            await tab.page.keyboard.press("Escape")
        await tab.page.evaluate("document.documentElement.removeAttribute('lang')")
        assert [what.partition(":")[0] for what in await complaints(tab)] == ["html-has-lang"], "axe is really asked"
