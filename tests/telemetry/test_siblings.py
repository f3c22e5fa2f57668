"""Several processes answer as one: any of them is asked, all of them are in the answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from telemetry import CounterSpec, GaugeSpec, Telemetry, TelemetrySettings
from telemetry.siblings import LENGTH_BYTES, merge

SERVED = CounterSpec(name="shop.served", unit="{customer}", description='Customers "served" \\ done.')
STOCK = GaugeSpec(name="shop.stock", unit="{unit}", description="Units left.", scope="fleet")


@asynccontextmanager
async def fleet(directory: Path, *workers: str) -> AsyncIterator[list[Telemetry]]:
    """Run the telemetry of several processes; each has served as many customers as its place in the list."""
    async with AsyncExitStack() as stack:
        members = []
        for number, worker in enumerate(workers, 1):
            settings = TelemetrySettings(service_name="shop", worker=worker, socket_dir=directory)
            telemetry = stack.enter_context(Telemetry(settings, set_global=False, strict=True))
            telemetry.counter(SERVED).add(number)
            telemetry.observe(STOCK, lambda: [(7.0, {})])
            await stack.enter_async_context(telemetry.offered())
            members.append(telemetry)
        yield members


async def scrape(telemetry: Telemetry) -> dict[tuple[str, str], float]:
    """Return the samples of one answer by name and worker; a series that is there twice is an error."""
    body, _ = await telemetry.exposition_of_all()
    samples: dict[tuple[str, str], float] = {}
    seen = set()
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in seen, f"{series} is in the answer twice"
            seen.add(series)
            samples[sample.name, sample.labels.get("worker", "")] = sample.value
    return samples


async def test_each_process_answers_for_all_and_a_plain_sum_is_right(tmp_path: Path) -> None:
    async with fleet(tmp_path, "api-0", "api-1", "order-0") as members:
        for member in members:
            samples = await scrape(member)
            served = {worker: value for (name, worker), value in samples.items() if name == "shop_served_total"}
            assert served == {"api-0": 1, "api-1": 2, "order-0": 3}
            assert samples["shop_stock", ""] == 7
            assert sum(value for (name, _), value in samples.items() if name == "shop_stock") == 7


async def test_concurrent_scrapes_do_not_disturb_each_other(tmp_path: Path) -> None:
    async with fleet(tmp_path, "api-0", "api-1") as members:
        answers = await asyncio.gather(*(scrape(member) for _ in range(10) for member in members))
        for answer in answers:
            assert answer["shop_served_total", "api-0"] + answer["shop_served_total", "api-1"] == 3


async def test_a_hung_sibling_costs_a_fifth_of_a_second_and_is_counted(tmp_path: Path) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with fleet(tmp_path, "api-0") as (member,), await asyncio.start_unix_server(never, tmp_path / "api-1.sock"):
        began = time.monotonic()
        samples = await scrape(member)
        assert time.monotonic() - began < 1
        assert samples["shop_served_total", "api-0"] == 1
        assert (await scrape(member))["telemetry_worker_unreachable_total", "api-0"] >= 1


@pytest.mark.parametrize("answer", [b"", (10).to_bytes(LENGTH_BYTES, "big") + b"half"])
async def test_half_an_answer_is_none(tmp_path: Path, answer: bytes) -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with fleet(tmp_path, "api-0") as (member,), await asyncio.start_unix_server(half, tmp_path / "api-1.sock"):
        assert {worker for _, worker in await scrape(member)} == {"api-0", ""}
        assert (await scrape(member))["telemetry_worker_unreachable_total", "api-0"] >= 1


async def test_what_a_killed_process_left_is_replaced_by_its_successor(tmp_path: Path) -> None:
    async with fleet(tmp_path, "api-0") as (member,):
        dead = await asyncio.start_unix_server(lambda *_: None, tmp_path / "api-1.sock")
        dead.close()
        (tmp_path / "api-1.sock").touch()
        assert ("shop_served_total", "api-1") not in await scrape(member)
        async with fleet(tmp_path, "api-1"):
            assert (await scrape(member))["shop_served_total", "api-1"] == 1
        assert ("shop_served_total", "api-1") not in await scrape(member)


def test_merging_keeps_one_head_for_each_family() -> None:
    one = b'# HELP a_total A.\n# TYPE a_total counter\na_total{worker="x"} 1.0\n# HELP b B.\n# TYPE b gauge\nb 2.0\n'
    two = (
        b'# HELP b B.\n# TYPE b gauge\nb{worker="y"} 3.0\n'
        b'# HELP a_total A.\n# TYPE a_total counter\na_total{worker="y"} 4.0\n'
    )
    assert merge([one, two]) == (
        b'# HELP a_total A.\n# TYPE a_total counter\na_total{worker="x"} 1.0\na_total{worker="y"} 4.0\n'
        b'# HELP b B.\n# TYPE b gauge\nb 2.0\nb{worker="y"} 3.0\n'
    )
