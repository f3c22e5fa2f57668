"""What is looked at before a store is used: refusals of one line, warnings, facts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from service.store.client import STORE_ERRORS, connect, is_store_down
from service.store.preflight import StoreFacts, StoreRefused, check
from tests.conftest import MakeServer
from tests.support import RedisServer, free_port


@pytest.mark.parametrize(("kind", "version"), [("valkey", "9."), ("redis", "7.")])
async def test_a_store_that_keeps_everything_is_taken_without_a_word(
    make_server: MakeServer, kind: str, version: str
) -> None:
    """The version is the server's own, not the one that it is compatible with."""
    server = make_server(kind, aof=True)
    async with connect(server.url, name="test") as client:
        facts = await check(client)
    assert facts.version.startswith(version)
    assert facts == StoreFacts(
        server=kind,
        version=facts.version,
        aof_enabled=True,
        fsync="always",
        maxmemory_policy="noeviction",
    )


async def test_no_append_only_file_is_a_warning(store: Redis) -> None:
    """It is a choice that somebody may make, for a test."""
    facts = await check(store)
    assert (facts.aof_enabled, facts.fsync) == (False, None)
    assert facts.warnings == ("the store keeps no append-only file: a crash of it loses orders (appendonly yes)",)


async def test_fsync_once_a_second_is_a_warning(make_server: MakeServer) -> None:
    """An acknowledged order may be lost."""
    server = make_server("valkey", aof=True, appendfsync="everysec")
    async with connect(server.url, name="test") as client:
        assert (await check(client)).warnings == (
            "a crash of the store may lose the last second of orders (appendfsync everysec)",
        )


async def test_a_store_that_may_evict_orders_is_refused(make_server: MakeServer) -> None:
    """Whatever its limit is now: a limit can be set later."""
    server = make_server("redis", maxmemory_policy="allkeys-lru")
    assert await refusal(server) == (
        "the store may evict orders: maxmemory-policy is allkeys-lru; set it to noeviction"
    )


async def test_a_read_only_replica_is_refused(make_server: MakeServer, valkey_server: RedisServer) -> None:
    """The line names the primary."""
    replica = make_server("valkey", replicaof=f"127.0.0.1 {valkey_server.port}")
    line = f"the store is a read-only replica; REDIS_URL must name its primary, 127.0.0.1:{valkey_server.port}"
    assert await refusal(replica) == line


async def test_a_wrong_password_and_a_user_without_info_are_refused(make_server: MakeServer) -> None:
    """They do not mend themselves, so they must not look like an outage."""
    server = make_server("redis", requirepass="right")
    wrong = server.url.replace("redis://", "redis://:wrong@")
    expected = "the store refuses the username or the password of REDIS_URL"
    assert await refusal(server) == expected
    assert await refusal(server, wrong) == expected
    right = server.url.replace("redis://", "redis://:right@")
    async with connect(right, name="admin") as admin:
        assert (await check(admin)).server == "redis"
        await admin.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "+client", "+hello", "+ping")  # type: ignore[no-untyped-call]
        poor = server.url.replace("redis://", "redis://poor:pw@")
        assert await refusal(server, poor) == "the user of REDIS_URL may not run INFO in the store"
        await admin.execute_command("ACL", "SETUSER", "managed", "on", ">pw", "+@all", "-config")  # type: ignore[no-untyped-call]
    managed = server.url.replace("redis://", "redis://managed:pw@")
    async with connect(managed, name="test") as client:
        assert (await check(client)).maxmemory_policy == "noeviction"


@asynccontextmanager
async def server_of(info: str) -> AsyncIterator[str]:
    """Listen as a server that says `info` of itself, for versions that nobody ships any more."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if not line.startswith(b"*"):
                continue
            words = []
            for _ in range(int(line[1:])):
                await reader.readline()
                words.append((await reader.readline()).strip())
            bulk = f"${len(info)}\r\n{info}\r\n".encode()
            writer.write({b"INFO": bulk, b"HELLO": b"%0\r\n"}.get(words[0], b"+OK\r\n"))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("version", ["6.2.14", "5.0", "4"])
async def test_a_server_older_than_7_is_refused(version: str) -> None:
    """The only test without the real thing: such servers cannot be installed here."""
    info = f"redis_version:{version}\r\nrole:master\r\n"
    async with server_of(info) as url, connect(url, name="test") as client:
        with pytest.raises(StoreRefused) as refused:
            await check(client)
    assert str(refused.value) == f"the store is redis {version}; it must be Redis 7.0 or newer, or Valkey"


async def test_no_answer_is_an_outage_not_a_refusal() -> None:
    """The caller may wait for the store to come."""
    async with connect(f"redis://127.0.0.1:{free_port()}", name="test") as client:
        with pytest.raises(STORE_ERRORS) as failed:
            await check(client)
        assert is_store_down(failed.value)


async def refusal(server: RedisServer, url: str | None = None) -> str:
    """Return the line with which a store is refused."""
    async with connect(url or server.url, name="test") as client:
        with pytest.raises(StoreRefused) as refused:
            await check(client)
    return str(refused.value)
