"""Windows in a real store: what several processes gather is there once, for an hour, whatever happens on the way."""

import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisDown
from redis.exceptions import TimeoutError as RedisSilent

from service.store import connect
from telemetry.windows.statistics import Series, WindowStats
from telemetry.windows.windows import (
    KEEP_SECONDS,
    MAX_ERRORS,
    MAX_SERIES,
    MAX_SLOTS_WAITING,
    SLOT_SECONDS,
    RequestWindows,
)
from tests.conftest import MakeServer
from tests.support import RedisServer, wait_until
from tests.support.waiting import passed

PREFIX = "{live}:"
MINUTE, HOUR = timedelta(seconds=60), timedelta(hours=1)
ORDERS = Series("POST", "/orders", 202)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the present."""
        return self.now


def process(client: Any, name: str = "api-0", **options: Any) -> RequestWindows:
    """Return the windows as one process has them."""
    return RequestWindows(client, PREFIX, worker=name, **options)


def serve(windows: RequestWindows, requests: int, seconds: float = 0.01, series: Series = ORDERS) -> None:
    """Let a process serve some requests."""
    for _ in range(requests):
        windows.record(*series, seconds)


def counts(figures: WindowStats) -> dict[Series, int]:
    """Return how many requests there were of each kind."""
    return {series: found.count for series, found in figures.series.items()}


@pytest.fixture
async def impatient(make_server: MakeServer) -> AsyncIterator[tuple[RedisServer, Redis]]:
    """Yield a server that may be stopped, and a client that waits a short time for it."""
    server = make_server("valkey", aof=True)
    async with connect(server.url, name="test", timeout_seconds=0.2) as client:
        yield server, client


async def test_all_processes_are_summed_up(store: Redis) -> None:
    """Each reads the same figures, its own among them."""
    one, two = (
        process(store, heartbeat=lambda: {"connections": 3}),
        process(store, "api-1", heartbeat=lambda: {"connections": 4}),
    )
    serve(one, 3)
    serve(two, 4, 0.02)
    serve(two, 1, series=Series("GET", "", 404))
    await one.flush()
    await two.flush()
    serve(one, 5)
    await one.flush()
    for reader in (one, two):
        figures = await reader.read(MINUTE)
        assert counts(figures) == {ORDERS: 12, Series("GET", "unmatched", 404): 1}
        assert figures.series[ORDERS].mean_seconds == pytest.approx((8 * 0.01 + 4 * 0.02) / 12)
        assert figures.series[ORDERS].percentile(0.5) == pytest.approx(0.01, rel=0.05)
        assert figures.all().count == sum(slot.requests for slot in figures.slots) == 13
        assert MINUTE.total_seconds() <= figures.seconds <= MINUTE.total_seconds() + SLOT_SECONDS
        assert sorted(said["connections"] for said in figures.heartbeats) == [3, 4]


async def test_every_key_ends_within_an_hour(store: Redis) -> None:
    """Nothing stays behind, whatever was written."""
    windows = process(store)
    serve(windows, 3)
    windows.fail(method="GET", route="/", status=500, code="internal_error")
    await windows.flush()
    await windows.clear()
    serve(windows, 3)
    windows.fail(method="GET", route="/", status=500, code="internal_error")
    await windows.flush()
    keys = [key async for key in store.scan_iter()]
    assert {key.split(":")[1] for key in keys} == {"window", "errors", "now", "lot", "cleared", "latest"}
    assert all([0 < await store.ttl(key) <= KEEP_SECONDS for key in keys])


class Twice:
    """A client whose connection broke after each call, so that redis-py sent it once more."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def register_script(self, text: str) -> Callable[..., Any]:
        """Make a script that runs the very same call twice."""
        script = self._client.register_script(text)

        async def twice(**call: Any) -> Any:
            await script(**call)
            return await script(**call)

        return twice


async def test_what_is_sent_twice_counts_once(store: Redis) -> None:
    windows = process(Twice(store))
    for _ in range(3):
        serve(windows, 5)
        windows.fail(method="GET", route="/", status=500, code="internal_error")
        await windows.flush()
    figures = await windows.read(MINUTE, failures=10)
    assert (counts(figures), len(figures.failures)) == ({ORDERS: 15}, 3)


async def test_a_store_that_hangs_and_goes_on_counts_all_once(impatient: tuple[RedisServer, Redis]) -> None:
    """It runs what it was sent before it hung, and is sent it again: nobody can know."""
    server, client = impatient
    windows = process(client)
    await windows.flush()
    server.pause()
    for _ in range(3):
        serve(windows, 5)
        with pytest.raises(RedisSilent):
            await windows.flush()
    server.resume()
    serve(windows, 5)
    await windows.flush()
    assert counts(await windows.read(MINUTE)) == {ORDERS: 20}


async def test_a_store_that_dies_and_comes_back_counts_all_once(impatient: tuple[RedisServer, Redis]) -> None:
    """What was gathered meanwhile is kept; a new server does not know the scripts and is told."""
    server, client = impatient
    windows = process(client)
    serve(windows, 2)
    await windows.flush()
    server.kill9()
    serve(windows, 3)
    windows.fail(method="POST", route="/orders", status=503, code="store_unavailable", exception=OSError())
    for _ in range(3):
        with pytest.raises(RedisDown):
            await windows.flush()
    server.restart()
    await windows.flush()
    figures = await windows.read(MINUTE, failures=10)
    assert counts(figures) == {ORDERS: 5}
    assert [(failure.code, failure.exception) for failure in figures.failures] == [("store_unavailable", "OSError")]


async def test_what_comes_late_counts_where_it_happened(impatient: tuple[RedisServer, Redis]) -> None:
    """Not in the minute in which the store came back."""
    server, client = impatient
    clock = Clock()
    windows = process(client, clock=clock)
    serve(windows, 1)
    await windows.flush()
    server.kill9()
    serve(windows, 5)
    with pytest.raises(RedisDown):
        await windows.flush()
    clock.now += 300
    serve(windows, 2)
    server.restart()
    await windows.flush()
    assert counts(await windows.read(MINUTE)) == {ORDERS: 3}
    assert counts(await windows.read(HOUR)) == {ORDERS: 8}


async def test_while_the_store_is_away_memory_is_bounded(impatient: tuple[RedisServer, Redis]) -> None:
    """The oldest is dropped and counted, and what is left arrives."""
    server, client = impatient
    clock = Clock()
    windows = process(client, clock=clock)
    server.kill9()
    slots = MAX_SLOTS_WAITING + 5
    for _ in range(slots):
        serve(windows, 2)
        for _ in range(MAX_ERRORS):
            windows.fail(method="GET", route="/", status=503, code="store_unavailable")
        with pytest.raises(RedisDown):
            await windows.flush()
        clock.now += SLOT_SECONDS
    server.restart()
    await windows.flush()
    figures = await windows.read(HOUR, failures=1000)
    assert 0 < windows.dropped <= 10
    assert figures.all().count + windows.dropped == 2 * slots
    assert len(figures.failures) == MAX_ERRORS


async def test_the_number_of_series_is_bounded(store: Redis) -> None:
    """What is too much is counted under one name."""
    windows = process(store)
    for n in range(MAX_SERIES + 1000):
        windows.record("GET", f"/{n}", 200, 0.01)
    await windows.flush()
    figures = await windows.read(MINUTE)
    assert len(figures.series) == MAX_SERIES + 1
    assert figures.series[Series("GET", "overflow", 0)].count == 1000
    assert figures.all().count == MAX_SERIES + 1000


async def test_failures_are_the_newest_of_all_processes(store: Redis) -> None:
    """With all that is needed to look into them, the newest first."""
    one, two = process(store), process(store, "api-1")
    for n, windows in enumerate([one, two, one]):
        trace_id = f"{n:032x}"
        windows.fail(
            method="GET", route="/a/{b}", status=500, code="internal_error", exception=KeyError(), trace_id=trace_id
        )
        await windows.flush()
        await wait_until(partial(passed, time.time()), what="the next has a time of its own")
    newest, *_ = failures = (await two.read(MINUTE, failures=2)).failures
    assert [failure.trace_id for failure in failures] == ["0" * 31 + "2", "0" * 31 + "1"]
    assert (newest.method, newest.route, newest.status, newest.code) == ("GET", "/a/{b}", 500, "internal_error")
    assert (newest.exception, newest.worker) == ("KeyError", "api-0")


async def test_clearing_empties_the_windows_of_all(store: Redis) -> None:
    """What comes afterwards counts from then on, and its rate is over that time alone."""
    one, two = process(store), process(store, "api-1")
    for windows in (one, two):
        serve(windows, 5)
        windows.fail(method="GET", route="/", status=500, code="internal_error")
        await windows.flush()
    serve(one, 5)
    await one.clear()
    empty = await two.read(HOUR, failures=10)
    assert (empty.series, empty.slots, empty.failures) == ({}, [], [])
    serve(two, 3)
    await two.flush()
    figures = await one.read(HOUR)
    assert counts(figures) == {ORDERS: 3}
    assert figures.seconds < 30


async def test_what_was_kept_back_from_before_a_clear_does_not_come_after_it(
    impatient: tuple[RedisServer, Redis],
) -> None:
    server, client = impatient
    clock = Clock()
    late, other = process(client, clock=clock), process(client, "api-1")
    server.kill9()
    serve(late, 5)
    with pytest.raises(RedisDown):
        await late.flush()
    clock.now += 100
    server.restart()
    await other.clear()
    serve(late, 1)
    await late.flush()
    assert counts(await other.read(HOUR)) == {ORDERS: 1}


async def test_a_client_that_reads_bytes_will_do(valkey_server: RedisServer) -> None:
    async with Redis.from_url(valkey_server.url) as client:
        windows = process(client)
        serve(windows, 2)
        windows.fail(method="GET", route="/", status=500, code="internal_error")
        await windows.flush()
        figures = await windows.read(MINUTE, failures=1)
        assert (counts(figures), len(figures.failures), len(figures.heartbeats)) == ({ORDERS: 2}, 1, 1)


@pytest.mark.parametrize("window", [timedelta(0), MINUTE, HOUR, timedelta(days=1)])
async def test_a_window_is_at_most_what_is_kept(store: Redis, window: timedelta) -> None:
    figures = await process(store).read(window)
    assert 0 <= figures.seconds <= KEEP_SECONDS


def test_recording_needs_no_store() -> None:
    """A request is noted in memory: no call, nothing to wait for."""
    called: list[Any] = []

    class NoClient:
        register_script: Callable[..., Any] = called.append

    serve(RequestWindows(NoClient(), PREFIX, worker="api-0"), 1000)
    assert called == []
