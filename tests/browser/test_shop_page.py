"""The shop page in a real Chromium: whatever happens to an answer, a purchase is bought once."""

from contextlib import suppress
from typing import Any

import jwt
import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Route

from tests.browser.conftest import OpenTab
from tests.browser.kit import HOSTILE, Tab
from tests.support import wait_until
from tests.support.shop import Shop, open_shop
from tests.support.stores import RedisServer

pytestmark = pytest.mark.needs("chromium")

SECRET = "a-secret-of-the-tests-that-is-long-enough"  # noqa: S105 - of a server that lives as long as a test


async def choose(tab: Tab, shop: Shop, *, product: str = "Lamp", name: str = "ada", quantity: int = 1) -> None:
    """Open the shop and fill its form."""
    await tab.page.goto(f"{shop.url}/shop")
    await tab.page.get_by_label(product).check()
    await tab.page.get_by_label("Your name").fill(name)
    await tab.page.get_by_label("Quantity").fill(str(quantity))


async def press_buy(tab: Tab, clicks: int = 1) -> None:
    """Click on Buy."""
    await tab.page.get_by_role("button", name="Buy", exact=True).click(click_count=clicks)


async def orders_of(shop: Shop, user: str = "ada") -> list[dict[str, Any]]:
    """Return a shopper's orders as the API has them."""
    found: list[dict[str, Any]] = (await shop.client.get("/orders", params={"user_id": user})).json()["orders"]
    return found


async def until_state(tab: Tab, state: str) -> None:
    """Wait until the ticket says so."""
    await tab.page.locator(f"#ticket[data-state={state}]").wait_for()


async def test_a_double_click_and_a_reload_buy_once(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """The order's place in the queue is shown, and still is after the reload."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        tab = await open_tab()
        await choose(tab, shop, quantity=2)
        await press_buy(tab, clicks=2)
        await until_state(tab, "pending")
        await tab.until_text("ticket-state", "In the queue: place 1")
        for _ in range(2):
            await tab.page.reload()
            await until_state(tab, "pending")
        await tab.until_text("ticket-state", "In the queue: place 1")
        (order,) = await orders_of(shop)
        assert (order["quantity"], order["status"]) == (2, "pending")
        assert await tab.text("ticket-order") == order["order_id"]
        assert await tab.text("ticket-price") == "€99.00"
        assert (await shop.product())["stock"] == 8


async def test_a_lost_answer_is_asked_for_again(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """The order was placed, its answer never came, the page was left: the same key finds the order."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        tab = await open_tab()
        tab.away = True
        keys: list[str | None] = []

        async def lose(route: Route) -> None:
            if route.request.method == "POST":
                keys.append(await route.request.header_value("Idempotency-Key"))
                with suppress(PlaywrightError):  # the page was left meanwhile
                    await route.fetch()
                    await route.abort()
            else:
                await route.continue_()

        await tab.page.route("**/orders", lose)
        await choose(tab, shop)
        await press_buy(tab)
        await tab.until_text("ticket-state", "Not answered yet")
        assert len(await orders_of(shop)) == 1
        await tab.page.reload()
        await wait_until(lambda: len(keys) > 2, 30, "it was sent again after the reload")
        await tab.page.unroute("**/orders")
        await until_state(tab, "pending")
        (order,) = await orders_of(shop)
        assert await tab.text("ticket-order") == order["order_id"]
        assert len(set(keys)) == 1
        assert (await shop.product())["stock"] == 9


async def test_a_purchase_whose_key_may_be_forgotten_is_not_sent_again(
    valkey_server: RedisServer, open_tab: OpenTab
) -> None:
    """The key is remembered for a time; later the same request would be another order."""
    async with open_shop(valkey_server.url, idempotency_ttl_seconds=3600) as shop:
        await shop.put()
        tab = await open_tab()
        tab.away = True
        sent: list[str] = []

        async def lose(route: Route) -> None:
            sent.append(route.request.url)
            await route.abort()

        await tab.page.route("**/orders", lose)
        await choose(tab, shop)
        await press_buy(tab)
        await tab.until_text("ticket-state", "Not answered yet")
        await tab.page.goto(f"{shop.url}/page/icon.svg")
        await tab.page.evaluate(AGE_PURCHASES, 2000)
        sent.clear()
        await tab.page.goto(f"{shop.url}/shop")
        await until_state(tab, "refused")
        assert "too long ago" in await tab.text("ticket-state")
        assert sent == []


AGE_PURCHASES = """(seconds) => {
  for (const name of Object.keys(localStorage).filter((name) => name.startsWith("flash-sale:purchase:"))) {
    const purchase = JSON.parse(localStorage.getItem(name));
    localStorage.setItem(name, JSON.stringify({ ...purchase, begun: purchase.begun - 1000 * seconds }));
  }
}"""


async def test_a_service_that_is_overloaded_is_asked_again(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """A store that hangs means 503: the page goes on until there is an answer."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        tab = await open_tab()
        tab.away = True
        await choose(tab, shop)
        valkey_server.pause()
        try:
            await press_buy(tab)
            await tab.until_text("ticket-detail", "The store does not answer")
        finally:
            valkey_server.resume()
        await until_state(tab, "pending")
        assert len(await orders_of(shop)) == 1


async def test_a_pending_order_can_be_cancelled(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """Its units go back, and there is room for another purchase under another key."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        tab = await open_tab()
        await choose(tab, shop)
        await press_buy(tab)
        await tab.page.get_by_role("button", name="Cancel the order").click()
        await until_state(tab, "cancelled")
        assert (await shop.product())["stock"] == 10
        await tab.page.get_by_role("button", name="Buy something else").click()
        await tab.until_text("past", "Lamp cancelled")
        await press_buy(tab)
        await until_state(tab, "pending")
        assert [order["status"] for order in await orders_of(shop)] == ["pending", "cancelled"]


async def test_refusals_are_told_in_plain_words(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    async with open_shop(valkey_server.url) as shop:
        await shop.put("gone", name="Gone", stock=0)
        await shop.put("few", name="Few", per_user_limit=1)
        await shop.put("later", name="Later", opens_at="2100-01-01T00:00:00Z")
        await shop.put("over", name="Over", closes_at="2020-01-01T00:00:00Z", opens_at="2019-01-01T00:00:00Z")
        tab = await open_tab()
        for product, quantity, words in (
            ("Gone", 1, "Sold out"),
            ("Few", 2, "limit per shopper"),
            ("Later", 1, "not opened yet"),
            ("Over", 1, "is over"),
        ):
            await choose(tab, shop, product=product, quantity=quantity)
            await press_buy(tab)
            await until_state(tab, "refused")
            assert words in await tab.text("ticket-state")
            await tab.page.get_by_role("button", name="Buy something else").click()
        assert await orders_of(shop) == []


async def test_a_form_that_is_not_right_says_where(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """Nothing is sent, and the focus is where the mistake is."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        tab = await open_tab()
        await tab.page.goto(f"{shop.url}/shop")
        await tab.page.get_by_label("Lamp").wait_for()
        await press_buy(tab)
        assert "Choose a product" in await tab.text("complaint")
        await tab.page.get_by_label("Lamp").check()
        await tab.page.get_by_label("Your name").fill("ada lovelace")
        await press_buy(tab)
        assert "no spaces" in await tab.text("complaint")
        assert await tab.page.evaluate("document.activeElement.id") == "name"
        await tab.page.get_by_label("Your name").fill("ada")
        await tab.page.get_by_label("Quantity").fill("0")
        await press_buy(tab)
        assert "whole number" in await tab.text("complaint")
        assert await tab.page.locator("#ticket").is_hidden()


async def test_it_can_be_bought_by_keyboard_alone(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """Tab, arrows, text, Enter; then the focus is at the order."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put("chair", name="Chair")
        await shop.put("lamp", name="Lamp")
        tab = await open_tab()
        await tab.page.goto(f"{shop.url}/shop")
        await tab.page.get_by_label("Lamp").wait_for()
        keyboard = tab.page.keyboard
        await keyboard.press("Tab")
        await keyboard.press("Enter")
        await keyboard.press("Tab")
        await keyboard.press("Space")
        await keyboard.press("ArrowDown")
        await keyboard.press("Tab")
        await keyboard.type("grace")
        await keyboard.press("Tab")
        await keyboard.press("ArrowUp")
        await keyboard.press("Enter")
        await until_state(tab, "pending")
        assert await tab.page.evaluate("document.activeElement.id") == "ticket-title"
        (order,) = await orders_of(shop, "grace")
        assert (order["product_id"], order["quantity"]) == ("lamp", 2)


async def test_hostile_names_are_shown_as_text(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """In the catalogue and in the order; on a phone nothing grows wider than the screen."""
    async with open_shop(valkey_server.url) as shop:
        for number, name in enumerate(HOSTILE):
            await shop.put(f"hostile-{number}", name=name)
        tab = await open_tab(viewport={"width": 360, "height": 740})
        await tab.page.goto(f"{shop.url}/shop")
        await tab.page.locator(".choice").first.wait_for()
        assert await tab.page.locator(".choice .name").all_text_contents() == list(HOSTILE)
        await tab.page.locator("[value=hostile-0]").check()
        await tab.page.get_by_label("Your name").fill("ada")
        await press_buy(tab)
        await until_state(tab, "pending")
        assert await tab.text("ticket-product") == HOSTILE[0]
        assert await tab.page.locator("main img, main script, main b").count() == 0
        assert await tab.page.title() == "Shop · flash-sale"
        assert await tab.width_beyond() == 0


async def test_where_shoppers_have_tokens_the_page_asks_for_one(valkey_server: RedisServer, open_tab: OpenTab) -> None:
    """The token says who buys; a wrong one can be mended and the purchase goes on."""
    async with open_shop(valkey_server.url, auth_jwt={"secret": SECRET}) as shop:
        await shop.put()
        tab = await open_tab()
        await tab.page.goto(f"{shop.url}/shop")
        await tab.page.get_by_label("Lamp").check()
        assert await tab.page.get_by_label("Your name").is_hidden()
        await tab.page.get_by_label("Your access token").fill("wrong")
        await press_buy(tab)
        await tab.until_text("ticket-detail", "not accepted")
        token = jwt.encode({"sub": "ada", "exp": 4_000_000_000}, SECRET, algorithm="HS256")
        await tab.page.get_by_label("Your access token").fill(token)
        await until_state(tab, "pending")
        assert await tab.text("ticket-user") == "ada"


async def test_an_amount_whose_decimals_nobody_knows_is_told_in_minor_units(
    valkey_server: RedisServer, open_tab: OpenTab
) -> None:
    """Of a currency that the API no longer takes, as an older version may have put it; beside one of three decimals."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put("dinar", name="Dinar", price=1234, currency="KWD")
        terms: dict[str, Any] = {"limit": None, "opens": None, "closes": None}
        await shop.service.catalogue.put("odd", name="Odd", price=12345, currency="QQQ", stock=1, **terms)
        tab = await open_tab()
        await tab.page.goto(f"{shop.url}/shop")
        prices = tab.page.locator(".choice .price")
        await prices.nth(1).wait_for()
        assert sorted(text.replace("\xa0", " ") for text in await prices.all_text_contents()) == [
            "12,345 minor units of QQQ",
            "KWD 1.234",
        ]
