"""Anything may die at any time, by a seed, while a crowd buys, cancels and asks twice. Then it gets quiet.

`make chaos MINUTES=10 SEED=1` goes on for so long instead of `ROUNDS`, and says what came of it; with `OTHER=COMMIT` an
API process and a worker of that commit sell beside those of this one, on the same libraries.
"""

import asyncio
import os
import shutil
import signal
import sys
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
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
from tests.support import RedisServer, wait_until
from tests.support.processes import alive, run, send_signal
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


class Chaos:
    """What may happen to a sale. Each method is one misfortune; whatever it stops goes on at `quiet`."""

    def __init__(self, chance: Random, store: RedisServer, api: Fleet, workers: Fleet, bank: BankProcess) -> None:
        self._chance = chance
        self._store = store
        self._api = api
        self._workers = workers
        self._bank = bank
        self._moods = dict.fromkeys(("down", "lossy", "fickle", "late"), 0.0)
        self._paused: list[int] = []
        self.misfortunes: list[Callable[[], Awaitable[None]]] = [
            *(self.kill_api, self.kill_worker, self.kill_worker, self.end_worker),
            *(self.kill_store, self.hang_store, self.pause_worker, self.toggle_bank),
            *(self.fill_store, self.forget_scripts, self.lose_charges, self.change_mind, self.cut_connections),
            *(self.answer_late, self.hang_bank, self.remove_sockets),
        ]
        self.struck: Counter[str] = Counter()

    async def strike(self) -> None:
        """Let one thing happen."""
        misfortune = self._chance.choice(self.misfortunes)
        print("chaos:", misfortune.__name__)  # noqa: T201 - pytest shows it with a failure
        self.struck[misfortune.__name__] += 1
        await misfortune()

    async def kill_api(self) -> None:
        """SIGKILL to an API process."""
        self._send(self._api, f"api-{self._chance.randrange(2)}", signal.SIGKILL)

    async def kill_worker(self) -> None:
        """SIGKILL to an order worker."""
        self._send(self._workers, f"order-{self._chance.randrange(2)}", signal.SIGKILL)

    async def end_worker(self) -> None:
        """SIGTERM to an order worker."""
        self._send(self._workers, f"order-{self._chance.randrange(2)}", signal.SIGTERM)

    async def kill_store(self) -> None:
        """SIGKILL to the store, which is then started again."""
        self._store.kill9()
        await asyncio.to_thread(self._store.start)

    async def hang_store(self) -> None:
        """The store stops answering for longer than its clients wait, and goes on."""
        self._store.pause()
        await asyncio.sleep(self._chance.uniform(0.1, 1.2))  # this is the misfortune itself
        self._store.resume()

    async def pause_worker(self) -> None:
        """A worker stands still for some rounds; the one that stood still before goes on."""
        self.go_on()
        if pid := self._send(self._workers, f"order-{self._chance.randrange(2)}", signal.SIGSTOP):
            self._paused.append(pid)

    async def toggle_bank(self) -> None:
        """The payment gateway goes down, or comes back."""
        await self._toggle("down")

    async def fill_store(self) -> None:
        """The store is out of memory for a while, and takes no write."""
        with self._store.sync_client() as client:
            client.config_set("maxmemory", "1")
            await asyncio.sleep(self._chance.uniform(0.1, 2.5))  # this is the misfortune itself
            client.config_set("maxmemory", "0")

    async def forget_scripts(self) -> None:
        """The store forgets every script, again and again, in mid-call."""
        with self._store.sync_client() as client:
            for _ in range(50):
                client.script_flush()
                await asyncio.sleep(0.01)  # this is the misfortune itself

    async def cut_connections(self) -> None:
        """Every connection to the store is cut at one time."""
        with self._store.sync_client() as client:
            client.client_kill_filter(_type="normal", skipme=True)

    async def lose_charges(self) -> None:
        """Payments are captured and their answers lost, or that is over."""
        await self._toggle("lossy")

    async def change_mind(self) -> None:
        """Payments are captured, their answers lost and every other try is refused; or that is over."""
        await self._toggle("fickle")

    async def answer_late(self) -> None:
        """A third of the payments are captured and answered after their time-out, or that is over."""
        await self._toggle("late", 0.3)

    async def hang_bank(self) -> None:
        """The payment gateway stops for longer than it is waited for, and goes on with what it was asked."""
        await self._bank.hang(self._chance.uniform(0.5, 2.5))

    async def remove_sockets(self) -> None:
        """The directory by which the processes of a fleet find each other is removed."""
        with suppress(OSError):  # it is dead just now, or makes its socket anew
            for directory in sockets_of(self._api.pid("api-0")):
                shutil.rmtree(directory)

    def go_on(self) -> None:
        """Let paused workers go on."""
        while self._paused:
            if alive(pid := self._paused.pop()):
                send_signal(pid, signal.SIGCONT)

    async def quiet(self) -> None:
        """End what lasts."""
        self.go_on()
        await self._bank.change(**dict.fromkeys(self._moods, 0.0))

    async def _toggle(self, mood: str, value: float = 1.0) -> None:
        self._moods[mood] = 0.0 if self._moods[mood] else value
        await self._bank.change(**{mood: self._moods[mood]})

    def _send(self, target: Fleet, role: str, number: signal.Signals) -> int | None:
        """Send a signal, unless the process is dead just now."""
        pid = target.pid(role)
        if not alive(pid):
            return None
        send_signal(pid, number)
        return pid


def sockets_of(pid: int) -> set[Path]:
    """Return the directory in which a process offers its series: it holds the lock of its slot there.

    None while it has not begun to, and after somebody has removed it, until it is made anew.
    """
    links = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
    return {link.parent for link in links if link.suffix == ".lock"}


def say(what: str, reports: Sequence[CrowdReport], bank: Bank, struck: Counter[str]) -> None:
    """Say what came of a run, whose assertions have all held."""
    print(  # noqa: T201 - what `make chaos` is run for
        f"chaos: {what}, sent {sum(report.orders for report in reports)}, accepted "
        f"{sum(report.accepted for report in reports)}, lost 0, doubled 0, charged "
        f"{len(bank.captured)}, given back {len(bank.refunded)}, injected {struck.total()}: "
        f"{dict(sorted(struck.items()))}"
    )


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
        beside = f", beside {commit}" if others else ""
        say(f"seed {seed}, {store.kind}{beside}, back after {back:.1f} s", reports, books, chaos.struck)
