"""The client: how long it waits, what it sends again, and what it calls an outage."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.store.client import STORE_ERRORS, connect, is_store_down
from service.store.pipe import pipe_of
from tests.conftest import MakeServer
from tests.support import Program, RedisServer, free_port, wait_until
from tests.support.processes import run
from tests.support.stores import binary

SHORT = 0.3


async def outage(call: Awaitable[object]) -> float:
    """Return the seconds that a call took to fail, and check that its failure counts as an outage."""
    started = time.monotonic()
    with pytest.raises(STORE_ERRORS) as failed:
        await call
    assert is_store_down(failed.value), repr(failed.value)
    return time.monotonic() - started


async def test_replies_are_text_and_the_client_is_named(store: Redis) -> None:
    """`CLIENT LIST` tells the operator whose connection it is."""
    await store.set("clé", "é")
    assert await store.get("clé") == "é"
    assert (await store.client_info())["name"] == "test"


async def test_nobody_listening_fails_within_milliseconds() -> None:
    """No backoff stands between an outage and its 503."""
    async with connect(f"redis://127.0.0.1:{free_port()}", name="test", timeout_seconds=SHORT) as client:
        assert await outage(client.ping()) < SHORT / 2
    async with connect("unix:///no/such/socket", name="test") as client:
        assert await outage(client.ping()) < SHORT / 2


async def test_a_store_that_hangs_fails_after_one_timeout(make_server: MakeServer) -> None:
    """On an open connection and on a new one: a call that timed out is not sent again."""
    server = make_server("valkey")
    async with connect(server.url, name="test", timeout_seconds=SHORT) as client:
        await client.ping()
        server.pause()
        assert SHORT <= await outage(client.incr("n")) < 2 * SHORT
        assert SHORT <= await outage(client.incr("n")) < 2 * SHORT
        server.resume()
        assert await client.ping()


async def test_a_restarted_store_costs_no_error(make_server: MakeServer) -> None:
    """The broken connection is replaced and the call sent once more."""
    server = make_server("valkey", aof=True)
    async with connect(server.url, name="test") as client:
        await client.set("order", "1")
        server.kill9()
        await outage(client.get("order"))
        server.restart()
        assert await client.get("order") == "1"


async def test_a_blocking_read_may_outlast_the_timeout(store_server: RedisServer) -> None:
    """The time that a read may block is added to the timeout; a plain client would give up."""
    async with connect(store_server.url, name="test", timeout_seconds=SHORT, block_seconds=2 * SHORT) as client:
        await client.xgroup_create("queue", "workers", mkstream=True)
        nothing = await client.xreadgroup("workers", "one", {"queue": ">"}, block=int(2000 * SHORT))
        assert not nothing


async def test_one_call_too_many_is_refused_at_once(valkey_server: RedisServer) -> None:
    """A limit of connections protects the store; whoever is beyond it hears of it without waiting."""
    async with connect(valkey_server.url, name="test", max_connections=1, block_seconds=5) as client:
        blocked = asyncio.ensure_future(client.blpop(["list"], timeout=5))
        await wait_until(lambda: client.connection_pool._in_use_connections, what="the call is out")
        assert await outage(client.ping()) < SHORT
        blocked.cancel()
        await asyncio.gather(blocked, return_exceptions=True)


async def test_a_full_store_and_a_read_only_one_are_outages(make_server: MakeServer) -> None:
    """Nothing can be sold through them, and it is nobody's mistake here."""
    full = make_server("redis", maxmemory="1mb")
    async with connect(full.url, name="test") as client:
        await outage(client.set("key", "x" * 2_000_000))
    primary = make_server("valkey")
    replica = make_server("valkey", replicaof=f"127.0.0.1 {primary.port}")
    async with connect(replica.url, name="test") as client:
        await outage(client.set("key", "x"))


async def test_a_store_that_is_busy_with_a_script_is_an_outage(make_server: MakeServer) -> None:
    """BUSY has no class of its own in the client library."""
    server = make_server("redis", busy_reply_threshold="1")
    async with connect(server.url, name="test") as client, connect(server.url, name="loop") as other:
        looping = asyncio.ensure_future(other.eval("while true do end", 0))

        async def busy() -> bool:
            try:
                await client.set("key", "x")
            except RedisError as error:
                return str(error).startswith("BUSY") and is_store_down(error)
            return False

        await wait_until(busy, what="the store is busy")
        await client.script_kill()
        await asyncio.gather(looping, return_exceptions=True)


async def test_a_mistake_of_ours_is_no_outage(store: Redis) -> None:
    """It must end as a 500 with a stack trace, not hide behind a 503."""
    with pytest.raises(STORE_ERRORS) as failed:
        await store.execute_command("NO-SUCH-COMMAND")  # type: ignore[no-untyped-call]
    assert not is_store_down(failed.value)
    assert not is_store_down(ValueError("x"))


async def test_text_of_a_url_is_refused_before_anything_connects() -> None:
    """At start, with the line of the parser."""
    with pytest.raises(ValueError, match="REDIS_URL must start with"):
        connect("memcached://store", name="test")


async def test_something_else_at_the_address_is_an_outage() -> None:
    """A web server answers, but not as a store does."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"redis://127.0.0.1:{port}", name="test") as client:
            await outage(client.ping())


@pytest.mark.needs("openssl", "redis-server")
async def test_tls_checks_the_certificate(make_server: MakeServer, tmp_path: Path) -> None:
    """With the authority at hand it connects; without, the store counts as out of reach."""
    certificate, key, port = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"), free_port()
    names = ["-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-out", certificate, "-keyout", key]
    run([*command, *names], check=True)
    files = {"tls_cert_file": certificate, "tls_key_file": key, "tls_ca_cert_file": certificate}
    make_server("redis", tls_port=str(port), tls_auth_clients="no", **files)
    url = f"rediss://127.0.0.1:{port}"
    async with connect(f"{url}?ssl_ca_certs={certificate}", name="test") as client:
        assert await client.ping()
        pipe = pipe_of(client)
        assert pipe is not None
        assert await pipe.call("ECHO", "x" * 100_000) == "x" * 100_000
    async with connect(url, name="test") as client:
        await outage(client.ping())


@asynccontextmanager
async def sentinel_of(server: RedisServer, directory: Path) -> AsyncIterator[str]:
    """Run a real sentinel that watches `server`; yields the URL."""
    port, config = free_port(), directory / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {server.port} 1\n")
    url = f"redis+sentinel://127.0.0.1:{port}/main"
    with Program([binary("valkey"), str(config), "--sentinel"]) as sentinel:
        sentinel.wait_for_line("+monitor master main")
        yield url


async def test_a_sentinel_names_the_primary(make_server: MakeServer, tmp_path: Path) -> None:
    """Through a restart of the primary, and with a short answer when no sentinel is there."""
    server = make_server("valkey", aof=True)
    async with sentinel_of(server, tmp_path) as url, connect(url, name="test") as client:
        await client.set("order", "1")
        server.kill9()
        await outage(client.get("order"))
        server.restart()
        assert await client.get("order") == "1"
    async with connect(url, name="test", timeout_seconds=SHORT) as client:
        assert await outage(client.ping()) < SHORT


async def test_a_cluster_answers_the_same_calls(make_server: MakeServer) -> None:
    """One node that has all slots: scripts by key, restart, hang; two slots in a call are a mistake."""
    server = make_server("valkey", cluster_enabled="yes", aof=True)
    with server.sync_client() as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await wait_until(lambda: "cluster_state:ok" in cluster_info(server), what="the cluster is up")
    url = server.url.replace("redis://", "redis+cluster://")
    async with connect(url, name="test", timeout_seconds=SHORT) as client:
        sha = await client.script_load("return redis.call('INCR', KEYS[1])")
        assert await client.evalsha(sha, 1, "{fs:00}n") == 1
        with pytest.raises(STORE_ERRORS) as failed:
            await client.mget("a", "b")
        assert not is_store_down(failed.value)
        server.kill9()
        assert await outage(client.get("{fs:00}n")) < SHORT
        server.restart()
        await wait_until(lambda: "cluster_state:ok" in cluster_info(server), what="the cluster is up")
        assert await client.get("{fs:00}n") == "1"
        server.pause()
        assert await outage(client.get("{fs:00}n")) < 3 * SHORT
        server.resume()


def cluster_info(server: RedisServer) -> str:
    """Return the text of CLUSTER INFO."""
    with server.sync_client() as client:
        client.set_response_callback("CLUSTER INFO", str)
        return str(client.execute_command("CLUSTER INFO"))
