"""Deadlines of a loop that stood still: what came in time is looked at before they count."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from redis import exceptions

from service.deadline import GRACE_SECONDS, LATE_SECONDS, Deadline, within
from service.store import connect
from tests.support import RedisServer

SECONDS = 0.05
STOOD_SECONDS = SECONDS + LATE_SECONDS + 0.1
SHORT_SECONDS = 0.3
Run = Callable[[Any], Any]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Both loops: one looks at its timers first, the other at its sockets."""
    return request.param  # type: ignore[no-any-return]


async def read(seconds: float, *, sent: bool, stands: bool) -> bytes:
    """Read from a socket within some seconds; the loop stands still meanwhile, and something was sent or was not."""
    here, there = socket.socketpair()
    with there:
        here.settimeout(0)
        reader, writer = await asyncio.open_connection(sock=here)

        def stand_still() -> None:
            if sent:
                there.send(b"x")
            if stands:
                time.sleep(STOOD_SECONDS)  # this is the fault itself

        asyncio.get_running_loop().call_soon(stand_still)
        try:
            async with within(seconds):
                return await reader.read(1)
        finally:
            writer.close()
            await writer.wait_closed()


def test_what_came_while_the_loop_stood_still_is_read(run: Run) -> None:
    assert run(read(SECONDS, sent=True, stands=True)) == b"x"


@pytest.mark.parametrize("stands", [False, True])
def test_what_did_not_come_is_given_up(run: Run, *, stands: bool) -> None:
    """At its time, or a moment after the loop went on."""
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        run(read(SECONDS, sent=False, stands=stands))
    took = time.monotonic() - began
    assert took >= (STOOD_SECONDS + GRACE_SECONDS if stands else SECONDS) * 0.9


def test_a_deadline_that_is_cancelled_in_its_grace_calls_nothing(run: Run) -> None:
    async def cancelled() -> list[str]:
        called: list[str] = []
        deadline = Deadline(asyncio.get_running_loop())
        deadline.start(SECONDS, lambda: called.append("over"))
        time.sleep(STOOD_SECONDS)  # noqa: ASYNC251 - this is the fault itself
        await asyncio.sleep(0.01)  # the timer has come, late
        assert deadline.running
        deadline.cancel()
        await asyncio.sleep(2 * GRACE_SECONDS)
        return called

    assert run(cancelled()) == []


def test_a_cancellation_is_no_timeout(run: Run) -> None:
    async def cancelled() -> str:
        async def wait() -> None:
            async with within(60):
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled"
        return "ended"

    assert run(cancelled()) == "cancelled"


def test_an_answer_of_the_store_that_came_in_time_is_one(run: Run, valkey_server: RedisServer) -> None:
    """Whatever the loop looks at first; the next call finds a connection that works."""

    async def ask() -> tuple[object, object]:
        async with connect(valkey_server.url, name="test", timeout_seconds=SHORT_SECONDS) as client:
            await client.ping()
            call = asyncio.ensure_future(client.blpop(["nothing"], timeout=SHORT_SECONDS / 3))
            await asyncio.sleep(SHORT_SECONDS / 10)  # it is away, and its answer is not there yet
            time.sleep(SHORT_SECONDS + LATE_SECONDS + 0.2)  # noqa: ASYNC251 - this is the fault itself
            return await call, await client.ping()

    assert run(ask()) == (None, True)


def test_a_store_that_did_not_answer_meanwhile_is_given_up(run: Run, valkey_server: RedisServer) -> None:
    async def ask() -> None:
        async with connect(valkey_server.url, name="test", timeout_seconds=SHORT_SECONDS) as client:
            await client.ping()
            call = asyncio.ensure_future(client.blpop(["nothing"], timeout=60))
            await asyncio.sleep(SHORT_SECONDS / 10)
            time.sleep(SHORT_SECONDS + LATE_SECONDS + 0.2)  # noqa: ASYNC251 - this is the fault itself
            with pytest.raises(exceptions.TimeoutError):
                await asyncio.wait_for(call, 5)

    run(ask())
