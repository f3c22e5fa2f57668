"""Fixtures of the fault tests: a seed that is printed, a store that may be killed, a bank."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import MakeServer
from tests.faults.bank import Bank
from tests.faults.kit import Auditor
from tests.support import RedisServer, serve
from tests.support.counts import drawn
from tests.support.hardware import Hardware, build


class Paid(NamedTuple):
    """A running bank: its books, and the settings of a fleet that is to use it."""

    bank: Bank
    env: dict[str, str]


@pytest.fixture
def seed() -> int:
    """Print and return the seed of the test; `FAULTS_SEED` repeats one."""
    chosen = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(2**32))
    print(f"FAULTS_SEED={chosen}")  # noqa: T201 - pytest shows it with a failure
    drawn(chosen)
    return chosen


@pytest.fixture
def durable(make_server: MakeServer) -> RedisServer:
    """Return a store of the test's own that writes each answer to its log first."""
    return make_server("valkey", aof=True)


@pytest.fixture
async def auditor(durable: RedisServer) -> AsyncIterator[Auditor]:
    """Yield an auditor of that store, whose books must be in order at the end."""
    async with Auditor.of(durable.url) as opened:
        yield opened
        await opened.dump()


@pytest.fixture
async def paid(seed: int) -> AsyncIterator[Paid]:
    """Yield a bank that is served for the length of the test."""
    bank = Bank(seed)
    async with serve(bank.app()) as url:
        yield Paid(bank, {"PAYMENT_GATEWAY_URL": url})
        bank.gate.set()
        bank.late_gate.set()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that sets the clock of a program."""
    return build(tmp_path_factory.mktemp("hardware"))


@pytest.fixture
def hardware(library: Path, tmp_path: Path) -> Iterator[Hardware]:
    """Yield the machine under some programs."""
    with Hardware(library, tmp_path / "hardware") as made:
        yield made
