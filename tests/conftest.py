"""Fixtures of every test: real stores, emptied between tests, and what a machine cannot run."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from service.store.client import connect
from tests.support.machine import executable
from tests.support.stores import RedisServer, Servers

MakeServer = Callable[..., RedisServer]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker for tests that need a program which not every machine has."""
    config.addinivalue_line("markers", "needs(*programs): skip where a program is neither built nor on the PATH")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `needs` on a machine without the program (`STACK=require`: fail it)."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            executable(name)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Yield the servers that the session shares."""
    shared = Servers()
    yield shared
    shared.stop()


@pytest.fixture(params=["valkey", "redis"])
def store_server(servers: Servers, request: pytest.FixtureRequest) -> RedisServer:
    """Return an empty server; the test runs against Valkey and against Redis."""
    return servers.get(request.param)


@pytest.fixture
def valkey_server(servers: Servers) -> RedisServer:
    """Return an empty Valkey, for tests in which the kind of server cannot matter."""
    return servers.get("valkey")


@pytest.fixture
async def store(store_server: RedisServer) -> AsyncIterator[Redis]:
    """Yield a client of `store_server`."""
    async with connect(store_server.url, name="test") as client:
        yield client


@pytest.fixture
async def valkey(valkey_server: RedisServer) -> AsyncIterator[Redis]:
    """Yield a client of `valkey_server`."""
    async with connect(valkey_server.url, name="test") as client:
        yield client


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Yield a factory of servers that a test may kill: `make_server("valkey", aof=True)`."""
    made: list[RedisServer] = []

    def make(*args: Any, **options: Any) -> RedisServer:
        made.append(RedisServer(*args, **options))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()
