"""The fleet's series in the answer of a process that has none: a sibling's, once."""

from pathlib import Path

from telemetry import GaugeSpec
from tests.telemetry.test_multiprocess import BOTH, fleet, scrape


@BOTH
async def test_the_fleets_series_are_a_siblings_where_this_process_has_none(tmp_path: Path, accept: str) -> None:
    """As when one process has lost the store that they are read from: each answer has them once, while any has them."""
    async with fleet(tmp_path, "api-0", "api-1", "order-0") as members:
        for lost in (["api-0"], ["api-1", "order-0"], ["api-0", "api-1", "order-0"], []):
            for member in members:
                member.fleet_exporter = member.worker not in lost
            for member in members:
                samples = await scrape(member, accept)
                assert samples.get(("shop_stock", "")) == (None if len(lost) == len(members) else 7)
                assert sum(name == "shop_served_total" for name, _ in samples) == len(members)


async def test_a_fleets_series_without_samples_are_a_siblings(tmp_path: Path) -> None:
    """A process that may export them and has nothing to show asks; what a sibling shows may be gone the next time."""
    shown = [True]
    async with fleet(tmp_path, "api-1") as (other,), fleet(tmp_path, "api-0", stock=None) as (member,):
        level = GaugeSpec(name="shop.level", unit="{unit}", description="Units left.", scope="fleet")
        member.observe(level, list)
        other.observe(level, lambda: [(3.0, {})] if shown else [])
        assert (await scrape(member))["shop_level", ""] == 3
        shown.clear()
        assert ("shop_level", "") not in await scrape(member)
        assert ("shop_level", "") not in await scrape(other)
