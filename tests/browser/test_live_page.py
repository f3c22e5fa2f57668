"""The live page in a real Chromium, against a real service."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.browser.conftest import OpenTab
from tests.browser.kit import HOSTILE, Tab, shown
from tests.orders.sale import Sale
from tests.support import wait_until
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop
from tests.support.stores import RedisServer

pytestmark = pytest.mark.needs("chromium")

TOKEN = "open/sesame+é"  # noqa: S105 - of a server that lives as long as a test
NOTE_WHEN_HIDDEN = """() => {
  const entry = document.getElementById("entry");
  new MutationObserver(() => { window.wasHidden ||= entry.hidden; }).observe(entry, { attributes: true });
}"""
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def live(tab: Tab, shop_url: str) -> None:
    """Open the live page and wait for its first figures."""
    await tab.page.goto(f"{shop_url}/")
    await tab.page.locator("body[data-state=live]").wait_for()


async def until_equal(tab: Tab, shop: Shop, products: int = 0) -> dict[str, Any]:
    """Wait until the page shows what the API says, to the digit, and so many products at least."""
    found: dict[str, Any] = {}

    async def equal() -> bool:
        snapshot = (await shop.client.get("/monitoring/metrics")).json()
        figures = await tab.figures()
        found.update(expected=shown(snapshot), actual={name: figures[name] for name in shown(snapshot)})
        return bool(found["expected"] == found["actual"]) and len(found["actual"]["products"]) >= products

    await wait_until(equal, 30, "the page shows what the API says")
    return found["actual"]  # type: ignore[no-any-return]


async def test_the_figures_are_those_of_the_api(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """Orders, refusals, stock and queue, as they stand once nothing moves."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put("lamp", stock=5)
        await shop.put("chair", stock=1_234_567)
        tab = await open_tab()
        await live(tab, shop.url)
        assert (await until_equal(tab, shop, products=2))["products"]["lamp"] == ["0", "0", "5"]
        for _ in range(7):
            await shop.order()
        await shop.order(product_id="chair", quantity=1000)
        await shop.order(product_id="nothing")
        await shop.rejections()
        await tab.until_text("accepted-total", "6")
        figures = await until_equal(tab, shop)
        assert figures["products"] == {"lamp": ["0", "5", "0"], "chair": ["0", "1,000", "1,233,567"]}
        assert figures["refusals"] == {"sold_out": ["2"], "unknown_product": ["1"]}
        assert figures["queue"] == "6"
        badge = tab.page.locator("[data-product=lamp] .badge")
        assert await badge.text_content() == "sold out, some held"
        assert await badge.is_visible()
        assert "Sold out: Lamp" in await tab.text("spoken")


async def test_hostile_text_is_shown_as_text(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """In the names of products and in errors; on a phone nothing grows wider than the screen."""
    async with open_shop(valkey_server.url) as shop:
        for number, name in enumerate(HOSTILE):
            await shop.put(f"hostile-{number}", name=name)
        fault = RuntimeError(HOSTILE[0])
        shop.service.windows.fail(
            method="GET", route=f"/{HOSTILE[1]}", status=500, code="internal_error", exception=fault, trace_id=None
        )
        tab = await open_tab(viewport={"width": 360, "height": 740})
        await live(tab, shop.url)
        await tab.page.locator("#errors tr").wait_for()
        await tab.page.locator("#products .name").nth(len(HOSTILE) - 1).wait_for()  # the first snapshot may know fewer
        names = await tab.page.locator("#products .name").all_text_contents()
        assert names == list(HOSTILE)
        assert HOSTILE[1] in await tab.text("errors")
        assert await tab.page.locator("#figures img, #figures script, #figures b b").count() == 0
        assert await tab.page.title() == "Live · flash-sale"
        assert await tab.width_beyond() == 0


@pytest.mark.parametrize("jaeger_url", [None, "http://jaeger.example:16686/"])
async def test_an_error_leads_to_its_trace(
    valkey_server: RedisServer, open_tab: OpenTab, jaeger_url: str | None
) -> None:
    """A link where it is known where Jaeger is; elsewhere the id, to be copied."""
    async with open_shop(valkey_server.url, jaeger_url=jaeger_url) as shop:
        shop.service.windows.fail(
            method="POST", route="/orders", status=503, code="store_unavailable", exception=None, trace_id=TRACE
        )
        tab = await open_tab(permissions=["clipboard-read", "clipboard-write"])
        await live(tab, shop.url)
        row = tab.page.locator("#errors tr")
        await row.wait_for()
        assert "store_unavailable" in (await row.text_content() or "")
        if jaeger_url:
            link = row.get_by_role("link", name=f"Trace {TRACE} in Jaeger")
            assert await link.get_attribute("href") == f"http://jaeger.example:16686/trace/{TRACE}"
            assert "noopener" in (await link.get_attribute("rel") or "")
        else:
            await row.get_by_role("button", name=f"Copy trace id {TRACE}").click()
            await tab.until_text("spoken", "copied")
            assert await tab.page.evaluate("navigator.clipboard.readText()") == TRACE


async def test_a_store_that_does_not_answer_is_named(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    async with open_shop(valkey_server.url) as shop:
        tab = await open_tab()
        await live(tab, shop.url)
        tab.away = True
        valkey_server.pause()
        try:
            await tab.page.locator("body[data-state=stale]").wait_for()
            await tab.until_text("warning", "The store does not answer.")
        finally:
            valkey_server.resume()
        await tab.page.locator("body[data-state=live]").wait_for()


async def test_without_a_websocket_it_asks(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """Where the service lets no watcher in, the figures move all the same."""
    async with open_shop(valkey_server.url, monitoring_max_clients=0) as shop:
        await shop.put()
        tab = await open_tab()
        tab.away = True
        await live(tab, shop.url)
        await shop.order()
        await tab.until_text("accepted-total", "1")
        await until_equal(tab, shop)


async def test_where_a_token_is_needed_the_page_asks_for_it(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """A wrong one is refused, and the field stays for another; the right one opens both roads and survives a reload."""
    async with open_shop(valkey_server.url, monitoring_token=TOKEN) as shop:
        tab = await open_tab()
        await tab.page.goto(f"{shop.url}/")
        field = tab.page.get_by_label("These figures need a token")
        await field.wait_for()
        await tab.page.evaluate(NOTE_WHEN_HIDDEN)
        await field.fill("wrong")
        tab.away = True
        await field.press("Enter")
        await tab.until_text("warning", "This token is refused.")
        assert not await tab.page.evaluate("window.wasHidden"), "who types another token loses it"
        await field.fill(TOKEN)
        await field.press("Enter")
        await tab.page.locator("body[data-state=live]").wait_for()
        assert await field.is_hidden()
        await wait_until(lambda: len(shop.service.broadcast) == 1, 30, "the page watches by WebSocket")
        await tab.page.reload()
        await tab.page.locator("body[data-state=live]").wait_for()


async def test_the_page_can_be_used_by_keyboard(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """The first stop leads past the header; the chart's figures open as a table."""
    async with open_shop(valkey_server.url) as shop:
        tab = await open_tab()
        await live(tab, shop.url)
        await tab.page.keyboard.press("Tab")
        assert await focused(tab) == "Skip to the figures"
        await tab.page.keyboard.press("Enter")
        await tab.page.keyboard.press("Tab")
        assert await focused(tab) == "The same as a table"
        await tab.page.keyboard.press("Enter")
        await tab.page.locator("#pace-rows").wait_for()
        chart = tab.page.get_by_role("img", name=re.compile("Orders per second over the last minutes"))
        assert await chart.count() == 1


async def focused(tab: Tab) -> str:
    """Return the text of what has the focus."""
    found: str = await tab.page.evaluate("document.activeElement.textContent.trim()")
    return found


@pytest.mark.parametrize("path", ["/", "/shop"])
async def test_the_pages_follow_the_colour_scheme(valkey_server: RedisServer, open_tab: OpenTab, path: str) -> None:
    """Dark is dark, light is light, and text stands out from both."""
    brightness = "getComputedStyle(document.body)[%r].match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)"
    found = {}
    async with open_shop(valkey_server.url) as shop:
        for scheme in ("light", "dark"):
            tab = await open_tab(color_scheme=scheme)
            await tab.page.goto(f"{shop.url}{path}")
            found[scheme] = [await tab.page.evaluate(brightness % name) for name in ("backgroundColor", "color")]
    assert found["light"][0] - found["light"][1] > 400, found
    assert found["dark"][1] - found["dark"][0] > 400, found


MANY = 200


async def test_a_page_that_is_opened_in_the_midst_of_a_sale_shows_what_was_before(
    valkey_server: RedisServer, open_tab: OpenTab
) -> None:
    """In a process that was not there: the past is the fleet's, whoever looked meanwhile."""
    async with open_shop(valkey_server.url) as before:
        await before.put()
        for _ in range(3):
            await before.order()

        async def noted() -> bool:
            points = (await before.client.get("/monitoring/metrics/history")).json()["points"]
            return len(points) >= 6 and points[-1]["accepted"] == 3

        await wait_until(noted, 30, "the sale is noted")
    async with open_shop(valkey_server.url) as shop:
        tab = await open_tab()
        await live(tab, shop.url)
        await tab.page.locator("#pace-details summary").click()
        points = "() => document.querySelector('#queue-chart .line').getAttribute('d').split(/[ML]/).length - 1"

        async def shown_at_once() -> bool:
            return int(await tab.page.evaluate(points)) >= 6

        await wait_until(shown_at_once, 4, "the past is drawn")


async def test_amounts_have_the_decimals_of_iso_4217(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """As the page writes them: a browser's own decimals are those of cash, and 100 times too many for a forint."""
    async with open_shop(valkey_server.url) as shop:
        tab = await open_tab()
        await live(tab, shop.url)
        written = await tab.page.evaluate(
            "async (codes) => { const { price } = await import('./page/catalogue.js'); "
            "return codes.map((code) => price(1234500, code)); }",
            ["HUF", "IQD", "JPY", "KWD", "EUR"],
        )
    assert [re.sub(r"[^\d.,]", "", text) for text in written] == [
        *("12,345.00", "1,234.500", "1,234,500", "1,234.500", "12,345.00")
    ]


async def test_revenue_and_how_each_sale_stands_are_shown(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """Money as its currency writes it; windows count down by the store's clock."""
    now = datetime.now(UTC)
    async with open_shop(valkey_server.url) as shop:
        await shop.put("lamp", closes_at=(now + timedelta(hours=2)).isoformat())
        await shop.put("sofa", currency="JPY", price=7, stock=1)
        await shop.put("soon", opens_at=(now + timedelta(minutes=5)).isoformat())
        await shop.put("over", opens_at="2019-01-01T00:00:00Z", closes_at=now.isoformat())
        await shop.put("rests")
        await shop.put("gone")
        await shop.client.patch("/inventory/rests", json={"paused": True}, headers=ADMIN)
        await shop.client.delete("/inventory/gone", headers=ADMIN)
        await shop.order(quantity=2)
        await shop.order(product_id="sofa")
        sale = Sale(shop.service.shards)
        for begun in await sale.take():
            assert begun.order is not None
            await sale.settle(begun.order)
        tab = await open_tab()
        await live(tab, shop.url)
        await tab.until_text("revenue", "€99.00")
        assert await tab.text("revenue-others") == "and ¥7"
        badges = {
            str(await row.get_attribute("data-product")): await row.locator(".badge").text_content()
            for row in await tab.page.locator("#products tr").all()
        }
        assert re.fullmatch(r"opens in 4 min \d+ s|opens in 5 min 0 s", badges.pop("soon") or "")
        assert re.fullmatch(r"closes in 1 h 59 min|closes in 2 h 0 min", badges.pop("lamp") or "")
        assert re.fullmatch(r"closed \d\d:\d\d:\d\d", badges.pop("over") or "")
        assert badges == {"rests": "paused", "sofa": "sold out"}


async def test_two_hundred_products_leave_room_for_the_rest(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """A page of them at a time, found by a word; requests and errors are near, and one step away."""
    async with open_shop(valkey_server.url) as shop:
        terms: dict[str, Any] = {"price": 1, "currency": "EUR", "limit": None, "opens": None, "closes": None}
        for number in range(MANY):
            await shop.service.catalogue.put(f"p{number:03d}", name=f"Thing {number}", stock=5, **terms)
        tab = await open_tab()
        await live(tab, shop.url)
        rows = tab.page.locator("#products tr")
        await tab.until_text("stock-page", "20 of 200")
        assert await rows.count() == 20
        assert await tab.page.evaluate("document.documentElement.scrollHeight") < 3500
        await tab.page.get_by_role("button", name="Later products").click()
        assert await rows.first.get_attribute("data-product") == "p020"
        await tab.page.get_by_label("Find a product").fill("thing 19")
        assert await rows.count() == 11
        await tab.page.get_by_label("Find a product").fill("nothing like it")
        assert (await rows.count(), await tab.text("no-products")) == (0, "No product is found.")
        await tab.page.get_by_role("link", name="Requests", exact=True).click()
        assert await tab.page.evaluate("document.querySelector('#requests-title').getBoundingClientRect().top") < 900
        assert await tab.width_beyond() == 0
