"""Work beside a block goes on until the block ends."""

import pytest

from telemetry.prometheus import background
from tests.support import wait_until


@pytest.mark.parametrize("ends", ["raises", "returns"])
async def test_work_beside_the_block_is_begun_anew_when_it_ends(monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    monkeypatch.setattr(background, "RESTART_SECONDS", 0.01)
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        if ends == "raises":
            raise ZeroDivisionError

    async with background.in_background(work):
        await wait_until(lambda: begun >= 3, 5, "it was begun anew twice")
