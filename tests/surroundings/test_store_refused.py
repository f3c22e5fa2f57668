"""What waiting will never mend is refused at once and by name; only an outage is waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from service.processes.startup import open_shards
from service.settings import Settings
from service.store.preflight import StoreRefused
from tests.conftest import MakeServer
from tests.support import RedisServer, free_port
from tests.support.processes import run

RIGHTS = {
    "no scripts": "~* +@all -evalsha",
    "no groups": "~* +@all -xgroup",
    "no streams' keys": "~nothing* +@all",
    "no hashes": "~* +@all -hmget",
}


async def refused(url: str) -> str:
    """Return the line with which a start is refused, at once."""
    async with asyncio.timeout(10):
        with pytest.raises(StoreRefused) as found:
            async with open_shards(Settings(), url, name="test"):
                pass
    return str(found.value)


@pytest.mark.parametrize("rights", RIGHTS.values(), ids=RIGHTS)
async def test_a_missing_right(make_server: MakeServer, rights: str) -> None:
    server = make_server("redis")
    async with Redis(port=server.port) as admin:
        await admin.execute_command("ACL", "SETUSER", "poor", "on", ">pw", *rights.split())  # type: ignore[no-untyped-call]
    line = await refused(server.url.replace("redis://", "redis://poor:pw@"))
    assert line.startswith("the user of REDIS_URL lacks a right in the store: ")
    assert "pw" not in line


async def test_a_database_that_is_not_there(valkey_server: RedisServer) -> None:
    assert (await refused(f"{valkey_server.url}/4711")).startswith("REDIS_URL: the store refuses: ")


async def test_a_single_store_that_is_called_a_cluster(valkey_server: RedisServer) -> None:
    line = await refused(valkey_server.url.replace("redis://", "redis+cluster://"))
    assert line == "REDIS_URL: the store is no cluster; the address must be redis:// or rediss://"


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[int]:
    """Yield the port of something that says one thing to whatever it hears."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_something_that_is_no_store(scheme: str) -> None:
    async with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert (await refused(f"{scheme}://127.0.0.1:{port}")).startswith("REDIS_URL: ")


@pytest.mark.needs("openssl", "redis-server")
async def test_a_certificate_that_nobody_signed(make_server: MakeServer, tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-out", certificate, "-keyout", key]
    run([*command, "-subj", "/CN=localhost"], check=True)
    port = free_port()
    files = {"tls_cert_file": certificate, "tls_key_file": key, "tls_ca_cert_file": certificate}
    make_server("redis", tls_port=str(port), tls_auth_clients="no", **files)
    line = await refused(f"rediss://127.0.0.1:{port}")
    assert line.startswith("REDIS_URL: the store's certificate is not accepted: self")
