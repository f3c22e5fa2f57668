"""Several processes answer as one: any of them is asked, all of them are in the answer."""

import asyncio
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from telemetry import CounterSpec, GaugeSpec, Telemetry, TelemetrySettings
from telemetry.prometheus.family_texts import merge
from telemetry.prometheus.peer_scrape import LENGTH_BYTES, TIMEOUT_SECONDS
from tests.support import Program, wait_until

TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text"
BOTH = pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
SERVED = CounterSpec(name="shop.served", unit="{customer}", description='Customers "served" \\ done.')
STOCK = GaugeSpec(name="shop.stock", unit="{unit}", description="Units left.", scope="fleet")


@asynccontextmanager
async def fleet(directory: Path, *workers: str, stock: float | None = 7.0) -> AsyncIterator[list[Telemetry]]:
    """Run the telemetry of several processes; each has served as many customers as its place in the list."""
    async with AsyncExitStack() as stack:
        members = []
        for number, worker in enumerate(workers, 1):
            settings = TelemetrySettings(
                service_name="shop", worker=worker, socket_dir=directory, sampler="parentbased_always_on"
            )
            spans = [SimpleSpanProcessor(InMemorySpanExporter())]
            telemetry = stack.enter_context(Telemetry(settings, set_global=False, strict=True, span_processors=spans))
            with telemetry.tracer("test").start_as_current_span("serve"):
                telemetry.counter(SERVED).add(number)
            telemetry.observe(STOCK, lambda: [] if stock is None else [(stock, {})])
            await stack.enter_async_context(telemetry.serving_peers())
            members.append(telemetry)
        yield members


async def scrape(telemetry: Telemetry, accept: str = TEXT) -> dict[tuple[str, str], float]:
    """Return the samples of one answer by name and worker; a series that is there twice is an error."""
    body, content_type = await telemetry.exposition_of_all(accept)
    assert content_type.startswith(accept)
    samples: dict[tuple[str, str], float] = {}
    seen = set()
    read: Callable[[str], Iterable[Metric]] = openmetrics if accept == OPENMETRICS else plain
    for family in read(body.decode()):
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in seen, f"{series} is in the answer twice"
            seen.add(series)
            samples[sample.name, sample.labels.get("worker", "")] = sample.value
    return samples


@pytest.mark.parametrize("worker", [None, "api-0"])
async def test_a_directory_that_is_not_there_is_told_by_its_variable(tmp_path: Path, worker: str | None) -> None:
    """In one line, when the telemetry starts."""
    settings = TelemetrySettings(service_name="shop", worker=worker, socket_dir=tmp_path / "none")
    with pytest.raises(RuntimeError, match=r"^TELEMETRY_SOCKET_DIR: no socket can be made in .*/none: No such file"):
        async with Telemetry(settings, set_global=False).running():
            pass


@BOTH
async def test_each_process_answers_for_all_and_a_plain_sum_is_right(tmp_path: Path, accept: str) -> None:
    async with fleet(tmp_path, "api-0", "api-1", "order-0") as members:
        for member in members:
            samples = await scrape(member, accept)
            served = {worker: value for (name, worker), value in samples.items() if name == "shop_served_total"}
            assert served == {"api-0": 1, "api-1": 2, "order-0": 3}
            assert samples["shop_stock", ""] == 7
            assert sum(value for (name, _), value in samples.items() if name == "shop_stock") == 7


async def test_openmetrics_of_all_ends_once_and_has_the_exemplars_of_all(tmp_path: Path) -> None:
    async with fleet(tmp_path, "api-0", "api-1", "order-0") as members:
        body, _ = await members[0].exposition_of_all(OPENMETRICS)
    assert (body.count(b"# EOF\n"), body.endswith(b"\n# EOF\n")) == (1, True)
    assert body.count(b"# TYPE shop_served counter\n") == 1
    served = next(
        family
        for family in openmetrics(body.decode())  # type: ignore[no-untyped-call]
        if family.name == "shop_served"
    )
    exemplars = {sample.labels["worker"]: sample.exemplar for sample in served.samples}
    assert all(exemplars.values())
    assert len({exemplar.labels["trace_id"] for exemplar in exemplars.values() if exemplar}) == 3


async def test_concurrent_scrapes_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Not even when they want different formats."""
    async with fleet(tmp_path, "api-0", "api-1") as members:
        answers = await asyncio.gather(
            *(scrape(member, accept) for _ in range(5) for member in members for accept in (TEXT, OPENMETRICS))
        )
        for answer in answers:
            assert answer["shop_served_total", "api-0"] + answer["shop_served_total", "api-1"] == 3


async def test_a_hung_sibling_costs_a_fifth_of_a_second_and_is_counted(tmp_path: Path) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()

    async with fleet(tmp_path, "api-0") as (member,), await asyncio.start_unix_server(never, tmp_path / "api-1.sock"):
        began = time.monotonic()
        samples = await scrape(member)
        assert time.monotonic() - began < 1
        assert samples["shop_served_total", "api-0"] == 1
        assert (await scrape(member))["telemetry_worker_unreachable_total", "api-0"] >= 1


async def test_a_slow_read_of_its_own_costs_no_sibling(tmp_path: Path) -> None:
    """The patience with siblings begins when nothing else is left to do."""
    async with fleet(tmp_path, "api-0", "api-1") as (member, _):
        slow = GaugeSpec(name="shop.slow", unit="", description="Slow.")
        member.observe(slow, lambda: [(threading.Event().wait(2 * TIMEOUT_SECONDS), {})])
        samples = await scrape(member)
    assert samples["shop_slow", "api-0"] == 0
    assert samples["shop_served_total", "api-1"] == 2


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("question", [b"", b"no line", b"x" * 100_000])
async def test_who_asks_nothing_is_not_answered_and_not_waited_for(
    tmp_path: Path, question: bytes, ends: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with fleet(tmp_path, "api-0", "api-1") as (member, _):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "api-1.sock")
        writer.write(question)
        if ends:
            writer.write_eof()
        async with asyncio.timeout(10 * TIMEOUT_SECONDS):
            with suppress(ConnectionResetError):  # it does not even read a question that is too long
                assert await reader.read() == b""
        writer.close()

        async def answered() -> bool:
            return (await scrape(member)).get(("shop_served_total", "api-1")) == 2

        await wait_until(answered, 10, "the sibling answers within its fifth of a second")
    assert caplog.messages == []


async def test_an_answer_that_fails_is_not_the_last_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with fleet(tmp_path, "api-0", "api-1") as (member, other):
        broken = CollectorRegistry()
        other._exposition.own.register(broken)
        broken.collect = lambda: iter([1 / 0])  # type: ignore[method-assign,assignment,return-value]
        assert ("shop_served_total", "api-1") not in await scrape(member)
        assert "could not be answered" in caplog.text
        other._exposition.own.unregister(broken)
        assert (await scrape(member))["shop_served_total", "api-1"] == 2


PROCESS = """
import asyncio, pathlib, sys
from telemetry import Telemetry, TelemetrySettings
async def main():
    settings = TelemetrySettings(service_name="shop", worker="api-1", socket_dir=pathlib.Path(sys.argv[1]))
    with Telemetry(settings) as telemetry:
        async with telemetry.serving_peers():
            print("offered", flush=True)
            await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_process_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its series and its socket go with the next scrape, and it is counted once."""
    rss = ("process_resident_memory_bytes", "api-1")
    missed, lost = ("telemetry_worker_unreachable_total", "api-0"), ("telemetry_worker_lost_total", "api-0")
    async with fleet(tmp_path, "api-0") as (member,):
        for killed in range(1, 3):
            with Program([sys.executable, "-c", PROCESS, str(tmp_path)]) as process:
                await asyncio.to_thread(process.wait_for_line, "offered")
                before = await scrape(member)
                assert rss in before
                process.kill9()
            for _ in range(2):
                assert rss not in await scrape(member)
                assert not (tmp_path / "api-1.sock").exists()
            after = await scrape(member)
            assert (after[missed], after[lost]) == (before[missed], killed)


@pytest.mark.parametrize("answer", [b"", (10).to_bytes(LENGTH_BYTES, "big") + b"half"])
async def test_half_an_answer_is_none(tmp_path: Path, answer: bytes) -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with fleet(tmp_path, "api-0") as (member,), await asyncio.start_unix_server(half, tmp_path / "api-1.sock"):
        assert {worker for _, worker in await scrape(member)} == {"api-0", ""}
        assert (await scrape(member))["telemetry_worker_unreachable_total", "api-0"] >= 1


@pytest.mark.parametrize("removed", ["a socket", "all sockets", "the directory"])
async def test_sockets_that_are_removed_are_made_anew(tmp_path: Path, removed: str) -> None:
    """By a cleaner of temporary directories, say. The scrape that lacks a process says so itself; the next do not."""
    directory = tmp_path / "sockets"
    directory.mkdir(mode=0o700)
    missed = ("telemetry_worker_unreachable_total", "api-0")
    async with fleet(directory, "api-0", "order-0") as (member, _):
        before = await scrape(member)
        if removed == "the directory":
            shutil.rmtree(directory)
        else:
            for path in directory.glob("order-0.sock" if removed == "a socket" else "*"):
                path.unlink()
        during = await scrape(member)
        assert ("shop_served_total", "order-0") not in during
        assert during[missed] == before[missed] + 1

        async def whole() -> bool:
            return ("shop_served_total", "order-0") in await scrape(member)

        await wait_until(whole, 5, "both answer again")
        assert {path.name for path in directory.glob("*.sock")} == {"api-0.sock", "order-0.sock"}
        assert directory.stat().st_mode & 0o777 == 0o700


async def test_a_scrape_that_lacks_a_sibling_says_so_itself(tmp_path: Path) -> None:
    async with fleet(tmp_path, "api-0") as (member,):
        before = await scrape(member)
        (tmp_path / "api-1.sock").touch()
        missed = ("telemetry_worker_unreachable_total", "api-0")
        assert (await scrape(member))[missed] == before.get(missed, 0) + 1
        (tmp_path / "api-1.sock").unlink()
        async with await asyncio.start_unix_server(lambda _, writer: writer.close(), tmp_path / "api-1.sock"):
            assert (await scrape(member))[missed] == before.get(missed, 0) + 2


async def test_what_a_killed_process_left_is_replaced_by_its_successor(tmp_path: Path) -> None:
    async with fleet(tmp_path, "api-0") as (member,):
        dead = await asyncio.start_unix_server(lambda *_: None, tmp_path / "api-1.sock")
        dead.close()
        (tmp_path / "api-1.sock").touch()
        async with fleet(tmp_path, "api-1"):
            samples = await scrape(member)
            assert samples["shop_served_total", "api-1"] == 1
            assert samples["telemetry_worker_lost_total", "api-1"] == 1
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


def test_merging_openmetrics_keeps_the_units_and_ends_once() -> None:
    head = b"# HELP a A.\n# TYPE a counter\n# UNIT a seconds\n"
    other = b"# HELP b B.\n# TYPE b gauge\nb 1.0\n"
    one, two = b'a_total{w="x"} 1.0 # {trace_id="1"} 1.0 2.5\n', b'a_total{w="y"} 2.0\n'
    end = b"# EOF\n"
    assert merge([head + one + end, head + two + other + end]) == head + one + two + other + end


def test_merging_keeps_a_head_without_samples() -> None:
    """Whether it is all that one of the texts says of the family, or all there is."""
    head, other = b"# HELP a A.\n# TYPE a gauge\n# UNIT a seconds\n", b"# HELP b B.\n# TYPE b gauge\n"
    one, end = b'a{w="x"} 1.0\n', b"# EOF\n"
    assert merge([head + end, other + head + end]) == head + other + end
    assert merge([head + end, head + one + other + end]) == head + one + other + end
    assert merge([head + one + other + end, head + end]) == head + one + other + end


def test_merging_nothing_is_nothing() -> None:
    assert merge([b"", b""]) == b""
    assert merge([b"# EOF\n", b"# EOF\n"]) == b"# EOF\n"


def test_merging_takes_a_label_for_a_label() -> None:
    """A carriage return or a `#` in one does not begin another line."""
    one = b'# HELP a A.\n# TYPE a gauge\na{b="\r# EOF \\n# HELP c"} 1.0\n'
    two = b'# HELP a A.\n# TYPE a gauge\na{b="\r"} 2.0\n'
    assert merge([one, two]) == one + b'a{b="\r"} 2.0\n'
