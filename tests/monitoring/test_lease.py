"""The ledger's series have one exporter at a time: over replicas, through a death, through a long sleep."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack

import httpx
import pytest

from service.background import background_tasks
from service.ledger.lease import TTL_SECONDS, Lease
from service.ledger.ledger import ledger_scripts
from service.ledger.write_check import WriteCheck
from service.monitoring.poller import SnapshotPoller
from service.store import Shards, connect
from tests.conftest import MakeServer
from tests.support import RedisServer, eventually, wait_until
from tests.support.http import http_get
from tests.support.processes import alive as is_alive
from tests.support.processes import send_signal
from tests.support.service import Fleet

TAKEN_OVER_SECONDS = 5.0
BUSY_MACHINE_SECONDS = 2.0
LEDGER = "\nflash_sale_queue_length "


@pytest.fixture
async def shards(valkey_server: RedisServer) -> AsyncIterator[Shards]:
    """Yield a prepared store."""
    async with connect(valkey_server.url, name="test") as client:
        made = Shards(client, ledger_scripts())
        await made.prepare()
        yield made


async def test_two_samplers_never_export_in_the_same_instant(shards: Shards) -> None:
    """Looked at thousands of times while the holder ends; the other follows in time."""
    async with AsyncExitStack() as stack:
        samplers = [SnapshotPoller(shards, Lease(shards, name), WriteCheck(shards, 1)) for name in ("one", "two")]
        ends = [AsyncExitStack() for _ in samplers]
        for end, poller in zip(ends, samplers, strict=True):
            await end.enter_async_context(background_tasks(poller.run))
            stack.push_async_exit(end)

        def exporters() -> list[int]:
            found = [n for n, poller in enumerate(samplers) if poller.exported() is not None]
            assert len(found) <= 1
            return found

        (first,) = await wait_until(exporters, 10, "one exports")
        await ends[first].aclose()
        died = time.monotonic()
        looks = 0
        while exporters() != [1 - first]:
            looks += 1
            assert time.monotonic() - died < TAKEN_OVER_SECONDS + BUSY_MACHINE_SECONDS
            await asyncio.sleep(0)
        assert looks > 100


async def test_a_sampler_ends_wherever_it_is_stopped(shards: Shards) -> None:
    """Also in the turn in which it has sent a command: there Python 3.11's `wait_for` loses a cancellation."""
    for turns in range(40):
        poller = SnapshotPoller(shards, Lease(shards, "one"), WriteCheck(shards, 1))
        async with asyncio.timeout(20):
            async with background_tasks(poller.run):
                for _ in range(turns):
                    await asyncio.sleep(0)
            readings = poller.readings
            await shards.client.ping()
            assert poller.readings == readings


async def test_a_holder_that_overslept_does_not_believe_its_lease(shards: Shards) -> None:
    """Its own clock says that it is over, before the store gives it to another."""
    now = 100.0
    lease, other = Lease(shards, "one", lambda: now), Lease(shards, "two")
    await lease.renew()
    assert lease.held()
    await other.renew()
    assert not other.held()
    now += TTL_SECONDS
    assert not lease.held()


async def test_processes_of_one_fleet_share_it(shards: Shards) -> None:
    """A sibling that is asked for the series has them, too."""
    one, two = Lease(shards, "fleet"), Lease(shards, "fleet")
    await one.renew()
    await two.renew()
    assert one.held()
    assert two.held()


async def test_the_lease_ends_in_time_when_the_store_does_not_answer(make_server: MakeServer) -> None:
    """Nobody exports what nobody can know."""
    server = make_server("valkey")
    async with connect(server.url, name="test", timeout_seconds=0.3) as client:
        shards = Shards(client, ledger_scripts())
        await shards.prepare()
        lease = Lease(shards, "one")
        await lease.renew()
        server.kill9()
        await wait_until(lambda: not lease.held(), TTL_SECONDS + BUSY_MACHINE_SECONDS, "it is over")


@pytest.fixture
def replicas(valkey_server: RedisServer) -> Iterator[list[Fleet]]:
    """Yield two replicas of one API process each."""
    with ExitStack() as stack:
        yield [stack.enter_context(Fleet(valkey_server.url, command="api", api=1, workers=0)) for _ in range(2)]


def exports(url: str) -> bool | None:
    """Whether a replica's `/metrics` has the ledger's series; None when it does not answer."""
    try:
        return LEDGER in http_get(f"{url}/metrics", timeout=5).text
    except httpx.TransportError:
        return None


def holder(replicas: list[Fleet]) -> int:
    """Return the one replica that exports."""

    def found() -> list[int]:
        showing = [n for n, fleet in enumerate(replicas) if exports(fleet.url)]
        assert len(showing) <= 1
        return showing

    return eventually(found, 15, "a replica exports the ledger")[0]


def test_when_the_holder_is_killed_the_other_replica_follows(replicas: list[Fleet]) -> None:
    first = holder(replicas)
    dead, alive = replicas[first], replicas[1 - first]
    url = alive.url
    child = dead.pid("api-0")
    dead.program.kill9()
    eventually(lambda: not is_alive(child), 10, "it ends with its parent")
    died = time.monotonic()
    eventually(lambda: exports(url), TAKEN_OVER_SECONDS + BUSY_MACHINE_SECONDS, "the other replica exports")
    assert time.monotonic() - died < TAKEN_OVER_SECONDS + BUSY_MACHINE_SECONDS


def test_when_the_holder_sleeps_and_wakes_it_has_nothing_to_say(replicas: list[Fleet]) -> None:
    """Both are scraped without a pause from before it wakes on: the sum is never doubled."""
    first = holder(replicas)
    sleeper, other = replicas[first], replicas[1 - first]
    urls = sleeper.url, other.url
    pid = sleeper.kill("api-0", signal.SIGSTOP)
    try:
        eventually(lambda: exports(urls[1]), TAKEN_OVER_SECONDS + BUSY_MACHINE_SECONDS, "the other replica exports")
    finally:
        send_signal(pid, signal.SIGCONT)
    woke = time.monotonic()
    assert not exports(urls[0])
    while time.monotonic() - woke < 3:
        assert [exports(url) for url in urls].count(True) <= 1
    eventually(lambda: sum(exports(url) is True for url in urls) == 1, 15, "one of them exports")
