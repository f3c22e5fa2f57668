"""The pages of the API in a real Chromium, in a network without the internet: drawn, and nobody else asked."""

from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import OpenTab
from tests.support.shop import open_shop
from tests.support.stores import RedisServer

pytestmark = pytest.mark.needs("chromium")


@pytest.mark.parametrize("address", ["/docs", "/redoc"])
async def test_the_routes_are_drawn_by_what_is_installed_with_the_service(
    valkey_server: RedisServer, open_tab: OpenTab, address: str
) -> None:
    """Every request goes to the service, and what the policy refuses is not needed."""
    async with open_shop(valkey_server.url) as shop:
        tab = await open_tab()
        asked: list[str] = []
        tab.page.remove_listener("console", tab._note)
        tab.page.on("request", lambda request: asked.append(request.url))
        await tab.page.goto(f"{shop.url}{address}")
        await tab.until_text("document", "/inventory/{product_id}/restock")
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts - {urlsplit(shop.url).netloc} <= {"cdn.redoc.ly"}, "Redoc asks for its makers' mark, which is refused"


async def test_without_its_script_the_page_says_where_the_document_is(
    valkey_server: RedisServer, open_tab: OpenTab
) -> None:
    async with open_shop(valkey_server.url) as shop:
        tab = await open_tab()
        tab.away = True
        await tab.page.route("**/page/swagger-ui-bundle.js", lambda route: route.abort())
        await tab.page.goto(f"{shop.url}/docs")
        await tab.until_text("document", "openapi.json")
