"""Both pages beside a crowd that buys, over a restart of the whole service on the same port."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.browser.conftest import OpenTab
from tests.browser.kit import Tab, shown
from tests.support import free_port, wait_until
from tests.support.http import http_get
from tests.support.service import Fleet

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.timeout(300)]

PRODUCT = "Sticker Pack"


class Sale:
    """A whole service on a port and a directory of its own, which can be away for a while."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._fleet: Fleet | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it with a crowd of ten orders a second, and wait until it serves."""
        self._fleet = Fleet(self._directory, env={"PORT": str(self._port), "CROWD": "10", "STORE_FSYNC": "everysec"})
        self._fleet.__enter__()

    def stop(self) -> None:
        """End all of it in order."""
        if self._fleet is not None:
            self._fleet.terminate()
            self._fleet.program.end()
            self._fleet = None


@pytest.fixture
def sale(tmp_path: Path) -> Iterator[Sale]:
    """Yield a sale that runs."""
    running = Sale(tmp_path / "data")
    running.start()
    yield running
    running.stop()


async def until_live_and_equal(tab: Tab, sale: Sale) -> int:
    """Wait until the page shows one instant of the API whole, and return the orders accepted by then."""
    await tab.page.locator("body[data-state=live]").wait_for()
    accepted = 0

    async def equal() -> bool:
        nonlocal accepted
        async with httpx.AsyncClient(base_url=sale.url, timeout=15) as client:
            snapshot = (await client.get("/monitoring/metrics")).json()
        accepted = snapshot["orders"]["pending"]
        figures = await tab.figures()
        return accepted > 0 and {name: figures[name] for name in shown(snapshot)} == shown(snapshot)

    await wait_until(equal, 60, "the page shows what the API says")
    return accepted


async def test_the_pages_live_through_a_restart_under_a_crowd(sale: Sale, open_tab: OpenTab) -> None:
    """The figures move and are the API's; its absence is told; an order begun meanwhile is bought once."""
    live, shop = await open_tab(), await open_tab()
    await live.page.goto(f"{sale.url}/")
    await live.page.evaluate("window.sameDocument = true")
    await shop.page.goto(f"{sale.url}/shop")
    await shop.page.get_by_label(PRODUCT).check()
    await shop.page.get_by_label("Your name").fill("ada")
    before = await until_live_and_equal(live, sale)

    async def more() -> bool:
        return await until_live_and_equal(live, sale) > before + 10

    await wait_until(more, 60, "the figures go on")

    async def drawn() -> bool:
        paths = [live.page.locator(f"#pace path.line.{line}") for line in ("accepted", "settled")]
        return all(["L" in (await path.get_attribute("d") or "") for path in paths])

    await wait_until(drawn, 60, "both lines are drawn")

    live.away = shop.away = True
    sale.stop()
    first = await until_stale(live)
    await shop.page.get_by_role("button", name="Buy", exact=True).click()
    await shop.until_text("ticket-state", "Not answered yet")
    await until_older(live, first + 2)

    sale.start()
    assert await until_live_and_equal(live, sale) >= before
    assert await live.page.locator("#warning").is_hidden()
    assert "live again" in await live.text("spoken")
    assert await live.page.evaluate("window.sameDocument") is True
    await bought_once(shop, sale)


async def until_stale(live: Tab) -> int:
    """Wait until the page says that its figures are old, and return their age in seconds."""
    await live.page.locator("body[data-state=stale]").wait_for()
    await live.until_text("warning", "The service does not answer.")
    return age_of(await live.text("age"))


async def until_older(live: Tab, seconds: int) -> None:
    """Wait until the age has counted on; it was said aloud once."""

    async def older() -> bool:
        return age_of(await live.text("age")) >= seconds

    await wait_until(older, 30, "the age counts on")
    assert "no longer live" in await live.text("spoken")


async def bought_once(shop: Tab, sale: Sale) -> None:
    """Wait until the shop shows the order confirmed; it is the only one."""
    await shop.page.locator("#ticket[data-state=confirmed]").wait_for()
    orders = http_get(f"{sale.url}/orders", params={"user_id": "ada"}, timeout=15).json()["orders"]
    assert [(order["order_id"], order["status"]) for order in orders] == [
        (await shop.text("ticket-order"), "confirmed")
    ]


def age_of(text: str) -> int:
    """Return the seconds of an age as the page tells it."""
    found = re.search(r"(\d+) s old", text)
    return int(found[1]) if found else 0
