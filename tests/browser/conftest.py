"""A real Chromium for the tests of the pages; what a page complains of in its console fails the test at its end."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.browser.kit import Tab
from tests.support import executable

OpenTab = Callable[..., Awaitable[Tab]]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Yield a Chromium of this test's own."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=executable("chromium"), args=["--no-sandbox"], timeout=60_000
        )
        yield running
        await running.close()


@pytest.fixture
async def open_tab(browser: Browser) -> AsyncIterator[OpenTab]:
    """Yield a function that opens a tab, each with a storage of its own unless given a context."""
    opened: list[Tab] = []

    async def open_one(*, context: BrowserContext | None = None, **options: object) -> Tab:
        where = context or await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})  # type: ignore[arg-type]
        where.set_default_timeout(30_000)
        page: Page = await where.new_page()
        opened.append(Tab(page))
        return opened[-1]

    yield open_one
    for tab in opened:
        tab.check()
