"""A fleet reads its store once a second, by one process, which any other follows; trouble each sees for itself."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

import service.ledger.turns
from service.background import background_tasks
from service.ledger.catalogue import ProductCatalogue
from service.ledger.demo import stock_demo
from service.ledger.lease import Lease
from service.ledger.ledger import ledger_scripts
from service.ledger.snapshot import STALE_SECONDS, ProductRows, take_snapshot, told_snapshot
from service.ledger.turns import FleetTurns, Siblings, Told
from service.ledger.write_check import WriteCheck
from service.monitoring.poller import SnapshotPoller
from service.store import Shards, connect
from tests.conftest import MakeServer
from tests.support import RedisServer, eventually, wait_until
from tests.support.http import http_get
from tests.support.processes import send_signal
from tests.support.service import Fleet
from tests.support.steps import the_one_that_runs

PROCESSES = 4
FOLLOWED_SECONDS = 2.0
BUSY_MACHINE_SECONDS = 2.0
MAX_COMMANDS = 40
"""A second, of all processes, those of scripts included: 29 on average, and a look at all keys may be in the time."""
MAX_WAKES = 12
"""A second, of each process; 18 when uvicorn looked ten times a second whether it is to end."""
REST_SECONDS = 4
GRACE_SECONDS = 3.0
"""So long that a busy machine is not taken for a process that waits for its time."""


@dataclass(frozen=True, slots=True)
class Process:
    """What takes part in a fleet's turns, as an API process has it, with a client of its own."""

    shards: Shards
    writes: WriteCheck
    poller: SnapshotPoller
    life: AsyncExitStack


async def start(stack: AsyncExitStack, server: RedisServer, directory: Path | None, name: str) -> Process:
    """Begin to take part."""
    client = await stack.enter_async_context(connect(server.url, name=name, timeout_seconds=0.3))
    shards = Shards(client, ledger_scripts())
    await shards.prepare()
    siblings = Siblings(directory, name)
    writes = WriteCheck(shards, 0.3, siblings=siblings)
    poller = SnapshotPoller(shards, Lease(shards, "fleet"), writes, siblings=siblings)
    life = await stack.enter_async_context(AsyncExitStack())
    await life.enter_async_context(siblings.listening())
    life.push_async_callback(writes.aclose)
    await life.enter_async_context(background_tasks(writes.run, poller.run))
    return Process(shards, writes, poller, life)


@pytest.fixture
async def server(make_server: MakeServer) -> RedisServer:
    """Return a store that a test may kill."""
    return make_server("valkey")


@pytest.fixture
async def fleet(server: RedisServer, tmp_path: Path) -> AsyncIterator[list[Process]]:
    """Yield three that have come to terms: one of them reads."""
    async with AsyncExitStack() as stack:
        found = [await start(stack, server, tmp_path, f"api-{n}") for n in range(3)]
        await wait_until(lambda: len(readers(found)) == 1, 10, "one reads")
        yield found


def readers(fleet: list[Process]) -> list[Process]:
    """Return those who took the last turn that they know of."""
    return [one for one in fleet if one.poller.reads_for_others]


async def steps(server: RedisServer, seconds: float) -> float:
    """Return how many steps of the ledger a second the store runs."""
    with server.sync_client() as client:

        def run() -> int:
            return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])

        before = run()
        await asyncio.sleep(seconds)
        return (run() - before) / seconds


async def test_one_reads_and_all_know(fleet: list[Process], server: RedisServer) -> None:
    """A write, a renewal of the lease and a reading a second, of all three together."""
    assert await steps(server, 3) <= 4
    for one in fleet:
        assert one.poller.exported() is not None
        assert one.writes.memory is not None
        assert one.writes.reason is None
    seen = {latest.taken_at for one in fleet if (latest := one.poller.latest())}
    assert len(seen) <= 2  # two where one has been told a moment before another


async def test_what_is_told_is_what_was_read(fleet: list[Process]) -> None:
    """Products, totals, queue: whoever hears of a reading has the snapshot of whoever read."""
    await stock_demo(ProductCatalogue(fleet[0].shards))
    rows = ProductRows()
    read = await take_snapshot(fleet[0].shards, rows)
    replies = json.loads(json.dumps(rows.replies))
    assert told_snapshot(fleet[0].shards, ProductRows(), replies) == read
    names = {product.product_id for product in read.products}
    assert len(names) > 1

    def known(one: Process) -> bool:
        latest = one.poller.latest()
        return latest is not None and {product.product_id for product in latest.products} == names

    await wait_until(lambda: all(map(known, fleet)), 5, "all know the products")


async def test_who_ends_is_followed_at_once(fleet: list[Process]) -> None:
    (reader,) = readers(fleet)
    rest = [one for one in fleet if one is not reader]
    await reader.life.aclose()
    await wait_until(lambda: len(readers(rest)) == 1, FOLLOWED_SECONDS, "another reads")
    before = [one.poller.readings for one in rest]
    await wait_until(
        lambda: all(one.poller.readings > n + 2 for one, n in zip(rest, before, strict=True)), 6, "both know"
    )


async def test_each_sees_for_itself_that_the_store_is_gone(fleet: list[Process], server: RedisServer) -> None:
    """Killed and hung: nobody shows anything by then that others were told; back again, one of them reads."""
    for down, up in ((server.kill9, server.restart), (server.pause, server.resume)):
        at = time.monotonic()
        down()
        await wait_until(lambda: not any(one.poller.latest() for one in fleet), STALE_SECONDS, "nothing is shown")
        await wait_until(lambda: all(one.writes.reason for one in fleet), 3, "each knows why")
        assert all(one.poller.age_seconds() >= time.monotonic() - at - 0.1 for one in fleet)
        up()
        await wait_until(lambda: all(one.poller.latest() for one in fleet), 10, "all know again")
        await wait_until(lambda: len(readers(fleet)) == 1, 10, "one reads")
        assert [one.writes.reason for one in fleet] == [None, None, None]


async def test_who_cannot_do_it_leaves_the_work_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's way to the store may be whole: a turn that failed puts nobody off, and is followed before its time."""
    monkeypatch.setattr(service.ledger.turns, "GRACE_SECONDS", GRACE_SECONDS)
    broken: set[int] = set()
    failed: list[float] = []
    done: list[tuple[int, float]] = []

    async def work(number: int) -> Told:
        if number in broken:
            failed.append(time.monotonic())
            raise ConnectionError
        done.append((number, time.monotonic()))
        return {}

    async with AsyncExitStack() as stack:
        siblings = [Siblings(tmp_path, f"api-{number}") for number in range(2)]
        for one in siblings:
            await stack.enter_async_context(one.listening())
        turns = [FleetTurns(one, "due", partial(work, number)) for number, one in enumerate(siblings)]
        outage = (ConnectionError,)
        await stack.enter_async_context(background_tasks(*(partial(one.run, outage=outage) for one in turns)))
        await wait_until(lambda: len(done) > 2 and sum(one.ours for one in turns) == 1, 5, "one does it for both")
        reader = done[-1][0]
        broken.add(reader)
        await wait_until(lambda: failed and done[-1][0] != reader and done[-1][1] > failed[0], 5, "the other does it")
        assert done[-1][1] - failed[0] < GRACE_SECONDS


async def test_a_turn_of_the_past_is_no_news(tmp_path: Path) -> None:
    """Who was stopped between the reading and the telling tells it late; others have read since."""
    taken: list[tuple[str, float]] = []

    async def work() -> Told:
        return {}

    speaker, listener = Siblings(tmp_path, "api-0"), Siblings(tmp_path, "api-1")
    turns = FleetTurns(listener, "some", work, lambda told, begun: taken.append((told["text"], begun)))
    async with speaker.listening(), listener.listening():
        for told in ({"text": "a", "begun": 5}, {"text": "b", "begun": 4}, None, {"text": "c" * 10**6, "begun": 6}):
            speaker.tell("some", told)
        speaker.tell("another", {"text": "d", "begun": 7})
        await wait_until(lambda: len(taken) > 1, 5, "all has come")
    assert taken == [("a", 5), ("c" * 10**6, 6)]
    assert not turns.ours


@pytest.mark.parametrize("directory", [None, Path("/nowhere")])
async def test_who_has_no_directory_is_alone(server: RedisServer, directory: Path | None) -> None:
    """No directory, or one that somebody has removed: each reads for itself, as if there were no other."""
    async with AsyncExitStack() as stack:
        found = [await start(stack, server, directory, f"api-{n}") for n in range(2)]
        await wait_until(lambda: all(one.poller.readings > 2 for one in found), 10, "both have read")
        assert readers(found) == found


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    """Yield a store of its own, so that nobody else asks it anything."""
    with RedisServer("valkey") as server:
        yield server


@pytest.fixture(scope="module")
def processes(store: RedisServer) -> Iterator[Fleet]:
    """Yield a fleet of API processes."""
    with Fleet(store.url, command="api", api=PROCESSES, workers=0) as fleet:
        yield fleet


def reader_of(server: RedisServer) -> str:
    """Return the one process that reads the ledger, if there is one."""
    return the_one_that_runs(server, "turn", 1.5)


def wakes(pid: int) -> int:
    """Return how often the main thread of a process has gone to sleep."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def test_a_fleet_at_rest_does_little(processes: Fleet, store: RedisServer) -> None:
    """Commands of the store are counted for all processes together, those inside of scripts, too."""
    eventually(lambda: reader_of(store), 15, "one process reads")
    pids = [processes.pid(f"api-{n}") for n in range(PROCESSES)] if sys.platform == "linux" else []
    with store.sync_client() as client:

        def commands() -> int:
            return int(client.info("stats")["total_commands_processed"])

        asked, slept, begun = commands(), [wakes(pid) for pid in pids], time.monotonic()
        time.sleep(REST_SECONDS)
        seconds = time.monotonic() - begun
        assert (commands() - asked) / seconds < MAX_COMMANDS
    woken = [(wakes(pid) - before) / seconds for pid, before in zip(pids, slept, strict=True)]
    assert max(woken, default=0) < MAX_WAKES, woken


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_who_reads_is_followed_when_it_is_killed_or_stopped(
    processes: Fleet, store: RedisServer, number: signal.Signals
) -> None:
    """The age that the others tell stays small, and the ledger's series stay there, scrape after scrape."""
    reader = eventually(lambda: reader_of(store), 15, "one process reads")
    pid = processes.kill(reader, number)
    try:
        end = time.monotonic() + FOLLOWED_SECONDS + 0.5
        while time.monotonic() < end:
            lines = scrape(processes)
            ages = [float(line.split()[1]) for line in lines if line.startswith("flash_sale_snapshot_age_seconds")]
            assert ages
            assert max(ages) < FOLLOWED_SECONDS + BUSY_MACHINE_SECONDS
            assert any(line.startswith("flash_sale_queue_length ") for line in lines)
        other = eventually(lambda: reader_of(store), 5, "one process reads")
        assert number is signal.SIGKILL or other != reader  # who was killed is started again, and may read
    finally:
        if number is signal.SIGSTOP:
            send_signal(pid, signal.SIGCONT)
    eventually(lambda: reader_of(store), 15, "one process reads again")


def scrape(fleet: Fleet) -> list[str]:
    """Return the lines of `/metrics`, of whichever process answers."""
    while True:
        with suppress(httpx.TransportError):  # the connection came to the one that was stopped or killed
            return http_get(f"{fleet.url}/metrics", timeout=1, headers={"Connection": "close"}).text.splitlines()
