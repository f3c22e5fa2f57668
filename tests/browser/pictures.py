"""Remakes the pictures of the pages in docs/pictures: `make pictures`.

It runs a small sale with more orders than its worker can settle, watches it in Chromium for the better part of a
minute, and takes a picture of each page. No test; it stands here since it uses what the tests of the pages use.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Page, async_playwright

from deploy.stack.tools import ToolMissing, find
from tests.support.processes import ROOT
from tests.support.service import Fleet

PICTURES = ROOT / "docs" / "pictures"
WINDOW = {"width": 1280, "height": 720}
SALE = {
    "CROWD": "10",
    "ORDER_CONCURRENCY": "3",
    "PAYMENT_LATENCY_SECONDS": "0.42",
    "PAYMENT_DECLINE_RATE": "0.03",
    "STORE_FSYNC": "everysec",
}
WATCH_MS = 40_000
PRODUCT = "Sticker Pack"


async def buy(page: Page, url: str) -> None:
    """Buy something and stop while it waits in the queue."""
    await page.goto(f"{url}/shop")
    await page.get_by_label(PRODUCT).check()
    await page.get_by_label("Your name").fill("ada")
    await page.get_by_label("Quantity").fill("2")
    await page.get_by_role("button", name="Buy", exact=True).click()
    await page.locator("#ticket[data-state=pending]").wait_for()


async def take(url: str) -> None:
    """Take both pictures."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find("chromium"), args=["--no-sandbox"])
        live, shop = [await browser.new_page(viewport=WINDOW) for _ in range(2)]  # type: ignore[arg-type]
        await live.goto(url)
        await live.locator("body[data-state=live]").wait_for()
        await live.wait_for_timeout(WATCH_MS)
        await live.screenshot(path=PICTURES / "live.png", full_page=True)
        await buy(shop, url)
        await shop.screenshot(path=PICTURES / "shop.png", full_page=True)
        await browser.close()


def main() -> None:
    """Run the sale and take the pictures."""
    try:
        find("chromium")
    except ToolMissing as lack:
        sys.exit(f"the pictures are made with chromium: {lack}")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, Fleet(Path(directory) / "data", env=SALE) as fleet:
        asyncio.run(take(fleet.url))


if __name__ == "__main__":
    main()
