"""Fixtures of every test: real stores, emptied between tests, and what a machine cannot run."""

import gc
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from redis.asyncio import Redis

from service.store.client import connect
from tests.support.counts import Counting
from tests.support.machine import executable
from tests.support.processes import end_with_parent
from tests.support.stores import RedisServer, Servers

MakeServer = Callable[..., RedisServer]

SLOW = (
    "tests/stack/",
    "tests/browser/",
    "tests/faults/",
    "tests/fundamentals/test_benchmarks.py",
    "tests/fundamentals/test_cli_usage.py",
    "tests/fundamentals/test_killed_tests.py",
    "tests/fundamentals/test_readme.py",
    "tests/orders/test_ledger_model.py",
    "tests/telemetry/test_cardinality.py",
    "tests/telemetry/test_package.py",
    "tests/telemetry/test_servers.py",
)
"""With all that start a `Fleet`: what `make coverage` leaves out."""
STARTERS = ("Cluster", "Program", "World", "flash_sale", "open_shop", "run", "serve", "start")
"""Names of tests/support and tests/telemetry/peers.py: a module that has one starts servers, and is left out by
`make test-quick` as what is slow is, so that the rest takes less than 90 s."""
LONGEST_FIRST = ("tests/stack/test_alerts", "stack", "tests/stack", "tests/faults", "tests/fundamentals/test_cli")
"""Starts of names of groups: the processes are busy to the end when what takes minutes does not come last."""

gc.disable()  # until all is collected: what that makes stays
RERUN_CHARACTERS = 6000
"""Of the story of a test that failed and was run again, its end."""


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; a process of `pytest -n` ends with the one that started it."""
    config.addinivalue_line("markers", "needs(*programs): skip where a program is neither built nor on the PATH")
    config.addinivalue_line("markers", "slow: left out by `make coverage` and `test-quick`; set by tests/conftest.py")
    config.addinivalue_line("markers", "starts: left out by `make test-quick`; set by tests/conftest.py")
    if "COUNTS" in os.environ:
        config.pluginmanager.register(Counting(), "counts")
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    if hasattr(config, "workerinput"):
        end_with_parent()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what is slow, and what the processes of `pytest -n` share: a file, or one stack for all that use it."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        module = getattr(item, "module", None)
        shares_stack = "stack" in getattr(item, "fixturenames", ())
        if shares_stack or file.startswith(SLOW) or hasattr(module, "Fleet"):
            item.add_marker(pytest.mark.slow)
        elif any(hasattr(module, name) for name in STARTERS):
            item.add_marker(pytest.mark.starts)
        item.add_marker(pytest.mark.xdist_group("stack" if shares_stack else file))
    items.sort(key=_turn)


def pytest_collection_finish() -> None:
    """Collect garbage from now on, without looking at the thousands of tests each time."""
    gc.freeze()
    gc.enable()


def _turn(item: pytest.Item) -> int:
    name = next(item.iter_markers("xdist_group")).args[0]
    return next((turn for turn, start in enumerate(LONGEST_FIRST) if name.startswith(start)), len(LONGEST_FIRST))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `needs` on a machine without the program (`STACK=require`: fail it)."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            executable(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why a test was run again (`--reruns`): the summary of pytest-rerunfailures only says that it was."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.write_sep("_", f"run again: {report.nodeid}")
        terminalreporter.line(report.longreprtext[-RERUN_CHARACTERS:])


@pytest.fixture(autouse=True)
def _loggers_of_uvicorn() -> None:
    """Undo what a server of an earlier test has set for good: the level, the handlers, whether lines go on."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET)
        logger.handlers.clear()
        logger.propagate = True


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
