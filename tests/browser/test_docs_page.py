"""The page of the API in a real Chromium, in a network without the internet: it says where the document is."""

import pytest

from tests.browser.conftest import OpenTab
from tests.support.shop import open_shop
from tests.support.stores import RedisServer

pytestmark = pytest.mark.needs("chromium")

STAND_IN = "window.SwaggerUIBundle = Object.assign((options) => { window.drawn = options.url; }, { presets: {} });"


async def test_the_page_stands_without_the_script_that_it_cannot_load(
    valkey_server: RedisServer, open_tab: OpenTab
) -> None:
    """Its own policy lets its own script run, and no inline one."""
    async with open_shop(valkey_server.url) as shop:
        tab = await open_tab()
        tab.away = True  # the other host cannot be reached
        await tab.page.route("https://cdn.jsdelivr.net/**", lambda route: route.abort())
        await tab.page.goto(f"{shop.url}/docs")
        await tab.until_text("document", "openapi.json")


async def test_a_script_that_is_not_the_one_that_was_looked_at_is_not_run(
    valkey_server: RedisServer, open_tab: OpenTab
) -> None:
    """Whoever holds the other host cannot read the admin's token from the page."""
    async with open_shop(valkey_server.url) as shop:
        tab = await open_tab()
        await tab.page.route(
            "https://cdn.jsdelivr.net/**",
            lambda route: route.fulfill(
                body=STAND_IN, content_type="text/javascript", headers={"Access-Control-Allow-Origin": "*"}
            ),
        )
        refused: list[str] = []
        tab.page.remove_listener("console", tab._note)
        tab.page.on("console", lambda message: refused.append(message.text))
        await tab.page.goto(f"{shop.url}/docs")
        await tab.until_text("document", "openapi.json")
        assert await tab.page.evaluate("typeof window.SwaggerUIBundle") == "undefined"
        assert any("integrity" in text for text in refused), refused
