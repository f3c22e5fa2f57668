"""Anything may die at any time, by a seed, while a crowd buys, cancels and asks twice. Then it gets quiet.

`make chaos MINUTES=10 SEED=1` goes on for so long instead of `ROUNDS`, and says what came of it.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from time import monotonic

import pytest

from service.crowd import CrowdReport
from service.ledger.orders import Status
from tests.conftest import MakeServer
from tests.faults.bank import Bank
from tests.faults.conftest import Paid
from tests.faults.kit import (
    PRODUCT,
    Auditor,
    Load,
    assert_kept,
    assert_paid_once,
    codes,
    crowd_plan,
    metric,
    put_product,
    sale,
)
from tests.support import RedisServer, wait_until
from tests.support.processes import alive, send_signal
from tests.support.service import Fleet

ROUNDS = 12
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

    def __init__(self, chance: Random, store: RedisServer, api: Fleet, workers: Fleet, paid: Paid) -> None:
        self._chance = chance
        self._store = store
        self._api = api
        self._workers = workers
        self._bank = paid.bank
        self._paused: list[int] = []
        self.misfortunes: list[Callable[[], Awaitable[None]]] = [
            *(self.kill_api, self.kill_worker, self.kill_worker, self.end_worker),
            *(self.kill_store, self.hang_store, self.pause_worker, self.toggle_bank),
            *(self.fill_store, self.forget_scripts, self.lose_charges, self.change_mind, self.cut_connections),
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
        self._bank.down = not self._bank.down

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
        self._bank.lossy = not self._bank.lossy

    async def change_mind(self) -> None:
        """Payments are captured, their answers lost and every other try is refused; or that is over."""
        self._bank.fickle = not self._bank.fickle

    def go_on(self) -> None:
        """Let paused workers go on."""
        while self._paused:
            if alive(pid := self._paused.pop()):
                send_signal(pid, signal.SIGCONT)

    def quiet(self) -> None:
        """End what lasts."""
        self.go_on()
        self._bank.down = self._bank.lossy = self._bank.fickle = False

    def _send(self, target: Fleet, role: str, number: signal.Signals) -> int | None:
        """Send a signal, unless the process is dead just now."""
        pid = target.pid(role)
        if not alive(pid):
            return None
        send_signal(pid, number)
        return pid


def say(what: str, report: CrowdReport, bank: Bank, struck: Counter[str]) -> None:
    """Say what came of a run, whose assertions have all held."""
    print(  # noqa: T201 - what `make chaos` is run for
        f"chaos: {what}, sent {report.orders}, accepted {report.accepted}, lost 0, doubled 0, charged "
        f"{len(bank.captured)}, given back {len(bank.refunded)}, injected {struck.total()}: "
        f"{dict(sorted(struck.items()))}"
    )


@pytest.mark.parametrize("attempts", [100, 2], ids=["endless attempts", "two attempts"])
async def test_chaos(make_server: MakeServer, paid: Paid, seed: int, attempts: int) -> None:
    """Each accepted order has one end, the books add up, and who has no order has their money."""
    chance = Random(f"{seed}/chaos/{attempts}")
    minutes = float(os.environ.get("CHAOS_MINUTES") or 0)
    bank, env = paid
    bank.held, bank.declined = 0.3, 0.1
    store = make_server(chance.choice(["valkey", "redis"]), aof=True)
    env |= ENV | {"ORDER_ATTEMPTS": str(attempts)}
    async with (
        Auditor.of(store.url) as auditor,
        sale(store.url, api=2, workers=2, env=env) as (api, workers),
    ):
        await put_product(api.url, stock=1_000_000)
        await put_product(api.url, SCARCE, stock=50, limit=2)
        chaos = Chaos(chance, store, api, workers, paid)
        async with Load(crowd_plan(api.url, seed, **CROWD)) as load:
            end = monotonic() + 60 * minutes
            while chaos.struck.total() < ROUNDS or monotonic() < end:
                await load.more(chance.randrange(5, 60), 60)
                await chaos.strike()
            chaos.quiet()
            quiet = monotonic()
            await load.more(20, 60)
            back = monotonic() - quiet
        dump = await auditor.at_rest(90 + 120 * minutes)
        assert_kept(load.report, dump)
        assert dump.products[SCARCE].sold <= 50

        assert not any(status == 500 for status, _ in codes(load.report)), "a fault of the store is no mistake of ours"

        async def metrics_agree() -> bool:
            return await metric(api.url, "flash_sale_orders_total", "status") == dict(dump.snapshot.orders)

        await wait_until(metrics_agree, 15, "the metrics say what the ledger says")
        if attempts > 2:
            assert dump.dead == frozenset()
        await wait_until(
            lambda: sum(bank.kept().values()) == dump.snapshot.orders[Status.CONFIRMED], 30, "refunds are made"
        )
        assert_paid_once(bank, dump)
        say(f"seed {seed}, {store.kind}, back after {back:.1f} s", load.report, bank, chaos.struck)
