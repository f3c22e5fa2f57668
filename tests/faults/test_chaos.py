"""Anything may die at any time, by a seed, while a crowd buys, cancels and asks twice. Then it gets quiet.

`make chaos MINUTES=10 SEED=1` goes on for so long instead of `ROUNDS`, and says what came of it; with `OTHER=COMMIT` an
API process and a worker of that commit sell beside those of this one, on the same libraries.
"""

import asyncio
import os
import sys
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from time import monotonic

import pytest

from service.crowd import CrowdReport
from service.ledger.audit import LedgerDump
from service.ledger.orders import Status
from tests.conftest import MakeServer
from tests.faults.bank import Bank, BankProcess
from tests.faults.kit import (
    PRODUCT,
    Auditor,
    Load,
    assert_kept,
    assert_paid_once,
    codes,
    crowd_plan,
    fleet,
    metric,
    put_product,
    sale,
)
from tests.faults.misfortunes import Chaos
from tests.support import wait_until
from tests.support.counts import BACK, PUT_DOWN, SEEN, longest, put_line
from tests.support.processes import run
from tests.support.service import Fleet

ROUNDS = 12
TIMEOUT_SECONDS = 180  # while a queue is too long, because nobody took payments, new orders are refused
LULL_SECONDS = 5  # of waiting for orders before the next fault, in any case
SCARCE = "watch"
CROWD = {
    "rate": 120,
    "users": 200,
    "mix": {PRODUCT: 0.8, SCARCE: 0.2},
    "quantities": {1: 0.7, 2: 0.3},
    "idempotency_share": 0.6,
    "retry_share": 0.3,
    "cancel_share": 0.15,
}
ENV = {
    "WORKER_SILENCE_SECONDS": "0.5",
    "ORDER_RETRY_SECONDS": "0.1",
    "PAYMENT_TIMEOUT_SECONDS": "1",
}


def say(what: dict[str, str], reports: Sequence[CrowdReport], bank: Bank, struck: Counter[str]) -> None:
    """Say what came of a run, whose assertions have all held; `make chaos` puts it down."""
    told = what | {
        "sent": str(sum(report.orders for report in reports)),
        "accepted": str(sum(report.accepted for report in reports)),
        "injected": str(struck.total()),
        "lost": "0",
        "doubled": "0",
        "charged": str(len(bank.captured)),
        "given back": str(len(bank.refunded)),
        "wrongly charged": "0",
        "faults": ", ".join(f"{name.replace('_', ' ')} {times}" for name, times in sorted(struck.items())),
    }
    print("chaos:", told)  # noqa: T201 - what `make chaos` is run for
    SEEN["injected"] = struck.total()  # those at the gateway's and the store's settings, too
    if path := os.environ.get(PUT_DOWN):
        put_line(Path(path), "chaos", told)


@asynccontextmanager
async def other_version(store: str, commit: str, directory: Path, env: Mapping[str, str]) -> AsyncIterator[list[Fleet]]:
    """Run an API process and a worker of another commit beside those of this one; none without a commit."""
    if not commit:
        yield []
        return
    run(["git", "archive", "--output", directory / "other.tar", commit], check=True)
    with tarfile.open(directory / "other.tar") as archive:
        archive.extractall(directory / "other", filter="data")
    older = {"PYTHONPATH": str(directory / "other")}
    found = run([sys.executable, "-P", "-c", "import service; print(service.__file__)"], env={**os.environ, **older})
    assert found.stdout.startswith(str(directory)), found
    async with (
        fleet(store, command="api", env=older) as api,
        fleet(store, command="worker", env={**env, **older}),
    ):
        yield [api]


async def storm(chaos: Chaos, chance: Random, loads: Sequence[Load], seconds: float) -> float:
    """Let things happen while crowds buy; return how long they waited for orders when it got quiet."""
    async with AsyncExitStack() as crowds:
        for load in loads:
            await crowds.enter_async_context(load)
        end = monotonic() + seconds
        while chaos.struck.total() < ROUNDS or monotonic() < end:
            with suppress(AssertionError):  # a gateway that is down ends by a fault, too
                await loads[0].more(chance.randrange(5, 60), LULL_SECONDS)
            await chaos.strike()
        await chaos.quiet()
        quiet = monotonic()
        await asyncio.gather(*(load.more(20, TIMEOUT_SECONDS) for load in loads))
        return monotonic() - quiet


async def assert_figures_agree(fleets: Sequence[Fleet], dump: LedgerDump) -> None:
    """Assert that the one of the fleets that exports the ledger's series says what the ledger says."""

    async def agree() -> bool:
        found = [await metric(one.url, "flash_sale_orders_total", "status") for one in fleets]
        return dict(dump.snapshot.orders) in found

    await wait_until(agree, 15, "the metrics say what the ledger says")


async def settled_books(bank: BankProcess, dump: LedgerDump) -> Bank:
    """Return the books of the gateway once it has given back what it had to; they must be right."""

    async def given_back() -> bool:
        return sum((await bank.books()).kept().values()) == dump.snapshot.orders[Status.CONFIRMED]

    await wait_until(given_back, 30, "refunds are made")
    books = await bank.books()
    assert_paid_once(books, dump)
    return books


@pytest.mark.parametrize("attempts", [100, 2], ids=["endless attempts", "two attempts"])
async def test_chaos(make_server: MakeServer, tmp_path: Path, seed: int, attempts: int) -> None:
    """Each accepted order has one end, the books add up, and who has no order has their money."""
    chance = Random(f"{seed}/chaos/{attempts}")
    minutes = float(os.environ.get("CHAOS_MINUTES") or 0)
    began = monotonic()
    store = make_server(chance.choice(["valkey", "redis"]), aof=True)
    async with AsyncExitStack() as stack:
        bank = await asyncio.to_thread(BankProcess, seed)
        stack.callback(bank.end)
        await bank.change(held=0.3, declined=0.1)
        env = ENV | {"ORDER_ATTEMPTS": str(attempts), "PAYMENT_GATEWAY_URL": bank.url}
        auditor = await stack.enter_async_context(Auditor.of(store.url))
        api, workers = await stack.enter_async_context(sale(store.url, api=2, workers=2, env=env))
        commit = os.environ.get("CHAOS_OTHER", "")
        others = await stack.enter_async_context(other_version(store.url, commit, tmp_path, env))
        await put_product(api.url, stock=1_000_000)
        await put_product(api.url, SCARCE, stock=50, limit=2)
        chaos = Chaos(chance, store, api, workers, bank)
        loads = [Load(crowd_plan(one.url, seed + n, **CROWD)) for n, one in enumerate([api, *others])]
        back = await storm(chaos, chance, loads, 60 * minutes)
        dump = await auditor.at_rest(90 + 120 * minutes)
        reports = [load.report for load in loads]
        assert_kept(dump, *reports)
        assert dump.products[SCARCE].sold <= 50
        wrong = [status for report in reports for status, _ in codes(report) if status == 500]
        assert wrong == [], "a fault of the store is no mistake of ours"

        await assert_figures_agree([api, *others], dump)
        if attempts > 2:
            assert dump.dead == frozenset()
        books = await settled_books(bank, dump)
        what = {
            "seed, store": f"{seed}, {store.kind}" + (f", beside {commit}" if others else ""),
            "minutes": f"{(monotonic() - began) / 60:.1f}",
            "orders taken again after, s": f"{back:.1f}",
        }
        longest(BACK, back)
        say(what, reports, books, chaos.struck)
