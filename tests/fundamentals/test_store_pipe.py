"""The connection that frequent calls share: what it does when it breaks, hangs or is answered by somebody else."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import Redis

from service.store.client import STORE_ERRORS, connect, is_store_down
from service.store.pipe import Pipe, pipe_of
from tests.conftest import MakeServer
from tests.support import RedisServer, free_port, wait_until

SHORT = 0.3
CALLS = 200


@asynccontextmanager
async def piped(url: str, seconds: float = 5.0) -> AsyncIterator[tuple[Redis, Pipe]]:
    """Yield a client, and the pipe to its server."""
    async with connect(url, name="test", timeout_seconds=seconds) as client:
        pipe = pipe_of(client)
        assert pipe is not None
        yield client, pipe


async def failures(pipe: Pipe, calls: int) -> tuple[float, list[Any]]:
    """Send calls at once, all of which fail; return in how many seconds, and their errors."""
    started = time.monotonic()
    errors: list[Any] = await asyncio.gather(*(pipe.call("INCR", "n") for _ in range(calls)), return_exceptions=True)
    assert all(isinstance(error, STORE_ERRORS) and is_store_down(error) for error in errors), errors
    return time.monotonic() - started, errors


async def test_each_caller_gets_the_answer_to_its_own_call(valkey_server: RedisServer) -> None:
    """However many are away, on one connection; an error is one caller's."""
    async with piped(valkey_server.url) as (client, pipe):
        calls = [pipe.call(*(("NO-SUCH",) if n % 10 == 0 else ("ECHO", f"é{n}"))) for n in range(CALLS)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for number, answer in enumerate(answers):
            if number % 10:
                assert answer == f"é{number}"
            else:
                assert isinstance(answer, exceptions.ResponseError)
                assert not is_store_down(answer)
        assert [one["name"] for one in await client.client_list()].count("test") == 2  # the pipe's and this call's


async def test_an_answer_of_any_size_and_kind_is_whole(valkey_server: RedisServer) -> None:
    """Nil, a number, nested lists, and text that comes in many pieces."""
    async with piped(valkey_server.url) as (_, pipe):
        script = "return {1, false, {'a', {tonumber(ARGV[1])}}, string.rep('x', 3000000)}"
        assert await pipe.call("EVAL", script, 0, 7) == [1, None, ["a", [7]], "x" * 3_000_000]


async def test_a_caller_that_gives_up_harms_nobody(make_server: MakeServer) -> None:
    """What it sent runs once, and its answer is nobody else's."""
    server = make_server("valkey")
    async with piped(server.url) as (_, pipe):
        await pipe.call("SET", "n", 0)
        server.pause()
        given_up = asyncio.ensure_future(pipe.call("INCR", "n"))
        other = asyncio.ensure_future(pipe.call("ECHO", "mine"))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        server.resume()
        assert await other == "mine"
        assert await pipe.call("GET", "n") == "1"


async def test_a_restarted_store_costs_no_error(make_server: MakeServer) -> None:
    """Neither where it was seen to go, nor where calls are away as it dies."""
    server = make_server("valkey", aof=True)
    async with piped(server.url) as (_, pipe):
        await pipe.call("SET", "order", "1")
        server.kill9()
        await failures(pipe, 3)
        server.restart()
        assert await pipe.call("GET", "order") == "1"
        killed = await asyncio.gather(*(pipe.call("CLIENT", "KILL", "TYPE", "normal") for _ in range(3)))
        assert len(killed) == 3


async def test_a_store_that_hangs_fails_all_after_one_timeout(make_server: MakeServer) -> None:
    """On the open connection and on a new one: a call that timed out is not sent again."""
    server = make_server("valkey")
    async with piped(server.url, SHORT) as (_, pipe):
        await pipe.call("SET", "n", 0)
        server.pause()
        seconds, errors = await failures(pipe, 20)
        assert SHORT <= seconds < 2 * SHORT
        assert {type(error) for error in errors} == {exceptions.TimeoutError}
        seconds, _ = await failures(pipe, 20)
        assert SHORT <= seconds < 2 * SHORT
        server.resume()
        await wait_until(lambda: _answers(pipe), what="the store answers again")
        assert int(await pipe.call("GET", "n")) == 20  # those that were sent, once each


async def _answers(pipe: Pipe) -> bool:
    try:
        return bool(await pipe.call("PING"))
    except STORE_ERRORS:
        return False


async def test_nobody_listening_fails_within_milliseconds() -> None:
    """Those who wait for one attempt share what came of it."""
    async with piped(f"redis://127.0.0.1:{free_port()}") as (_, pipe):
        seconds, _ = await failures(pipe, CALLS)
        assert seconds < SHORT


async def test_a_store_that_became_a_replica_is_left(make_server: MakeServer) -> None:
    """The call is sent once more, on a new connection: whoever listens at that address by now."""
    primary, server = make_server("valkey"), make_server("valkey")
    async with piped(server.url) as (client, pipe):
        await pipe.call("SET", "n", 0)
        before = await pipe.call("CLIENT", "ID")
        await client.replicaof("127.0.0.1", str(primary.port))
        _, errors = await failures(pipe, 1)
        assert isinstance(errors[0], exceptions.ReadOnlyError)
        await client.replicaof("NO", "ONE")
        assert await pipe.call("INCR", "m") == 1
        assert await pipe.call("CLIENT", "ID") != before


async def test_a_store_that_is_busy_is_an_outage(make_server: MakeServer) -> None:
    """A script that does not end makes the server say BUSY; the connection stays."""
    server = make_server("redis", busy_reply_threshold="1")
    async with piped(server.url) as (client, pipe), connect(server.url, name="loop") as other:
        before = await pipe.call("CLIENT", "ID")
        await client.ping()
        looping = asyncio.ensure_future(other.eval("while true do end", 0))

        async def busy() -> bool:
            try:
                await pipe.call("SET", "key", "x")
            except exceptions.RedisError as error:
                return str(error).startswith("BUSY") and is_store_down(error)
            return False

        await wait_until(busy, what="the store is busy")
        await client.script_kill()
        await asyncio.gather(looping, return_exceptions=True)
        assert await pipe.call("CLIENT", "ID") == before


@pytest.mark.parametrize("text", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n" * 50, b""])
async def test_something_else_at_the_address_is_an_outage(text: bytes) -> None:
    """One that speaks no RESP, one that says more than it is asked, and one that hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(text)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with piped(f"redis://127.0.0.1:{port}", SHORT) as (_, pipe):
            await failures(pipe, 3)


async def test_a_pipe_is_for_one_server() -> None:
    """Where several share the work redis-py asks whom it has to; its connections do not end as ours do."""
    for url in ("redis+sentinel://127.0.0.1:1/main", "redis+cluster://127.0.0.1:1"):
        client = connect(url, name="test")
        assert pipe_of(client) is None
        await client.aclose()
    async with Redis.from_url("redis://127.0.0.1:1") as plain:
        assert pipe_of(plain) is None
