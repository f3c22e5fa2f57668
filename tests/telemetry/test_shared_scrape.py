"""Those who scrape at one time share a text, and texts leave the time to others."""

import asyncio
import time

import pytest

from telemetry.prometheus.shared_scrape import MAX_PAUSE_SECONDS, SHARE, SharedScrape

RENDER_SECONDS = 0.02


class Texts:
    """Texts that take a moment to make, each with the number of its turn."""

    def __init__(self) -> None:
        self.begun: list[float] = []

    async def render(self) -> tuple[bytes, str]:
        """Make the next one."""
        self.begun.append(time.monotonic())
        until = time.monotonic() + RENDER_SECONDS
        while time.monotonic() < until:
            pass
        await asyncio.sleep(0)
        return b"%d" % len(self.begun), "text/plain"


async def test_a_crowd_of_scrapers_leaves_the_loop_to_others() -> None:
    texts = Texts()
    scrape = SharedScrape(texts.render)
    answered = 0

    async def scraper(until: float) -> None:
        nonlocal answered
        while time.monotonic() < until:
            asked = time.monotonic()
            body, _ = await scrape.answer()
            assert texts.begun[int(body) - 1] >= asked, "the answer is older than the question"
            answered += 1

    seconds = 1.5
    await asyncio.gather(*(scraper(time.monotonic() + seconds) for _ in range(50)))
    assert len(texts.begun) <= seconds * SHARE / RENDER_SECONDS + 3
    assert answered >= 50 * (len(texts.begun) - 1)


async def test_one_scraper_waits_for_nothing() -> None:
    scrape = SharedScrape(Texts().render)
    for _ in range(3):
        began = time.monotonic()
        await scrape.answer()
        assert time.monotonic() - began < RENDER_SECONDS + 0.1
        await asyncio.sleep(MAX_PAUSE_SECONDS)


async def test_who_leaves_spoils_it_for_nobody_and_a_failure_is_told_to_all() -> None:
    texts = Texts()
    scrape = SharedScrape(texts.render)
    leaving, staying = (asyncio.create_task(scrape.answer()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == (b"1", "text/plain")

    async def fail() -> tuple[bytes, str]:
        raise ValueError("no text")

    failing = SharedScrape(fail)
    for found in await asyncio.gather(failing.answer(), failing.answer(), return_exceptions=True):
        assert isinstance(found, ValueError)
    with pytest.raises(ValueError, match="no text"):
        await failing.answer()


def test_another_loop_is_another_time() -> None:
    scrape = SharedScrape(Texts().render)

    async def abandon() -> None:
        asyncio.create_task(scrape.answer())  # noqa: RUF006 - the loop ends before it does
        await asyncio.sleep(0)

    asyncio.run(abandon())
    assert asyncio.run(scrape.answer())[1] == "text/plain"
