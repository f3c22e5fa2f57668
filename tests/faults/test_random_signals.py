"""API processes, order workers, the supervisor, what it forks from, and the store get signals at random, under load.

Afterwards each attempt is sent again under its key: there was one order of it or none, and there is one now.
`make signals ROUNDS=20 SEED=1` goes on for so many rounds, stops some for a minute, and says what came of it.
"""

import asyncio
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random
from time import perf_counter

import httpx

from tests.faults.kit import PRODUCT, Auditor, fleet, put_product
from tests.support import free_port, wait_until
from tests.support.counts import PUT_DOWN, put_line
from tests.support.http import http_client
from tests.support.processes import alive, descendants, send_signal
from tests.support.service import Fleet

ROUNDS = int(os.environ.get("SIGNAL_ROUNDS") or 4)
LONG = ROUNDS > 4
CLIENTS = 16
PAUSE_SECONDS = 0.02
ROLES = ("api-0", "api-1", "order-0", "order-1")
VICTIMS = (*ROLES, "supervisor", "template", "store")
SIGNALS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)
STOPPED_SECONDS = (1.0, 3.0, 20.0, 60.0) if LONG else (0.5, 1.5)


class Attempts:
    """Clients that order without an end, each attempt once, under a key and a user of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.made: dict[str, str | None] = {}
        """The order that each attempt was answered with; None without an answer, or with 503."""
        self.wrong: list[str] = []

    @property
    def accepted(self) -> int:
        """How many were answered with an order."""
        return sum(order is not None for order in self.made.values())

    async def run(self, client: httpx.AsyncClient) -> None:
        """Order until cancelled; the attempt that is away then counts as unanswered."""
        while True:
            key = f"a-{len(self.made)}"
            self.made[key] = None
            self.made[key] = await self.order(client, key)
            await asyncio.sleep(PAUSE_SECONDS)

    async def order(self, client: httpx.AsyncClient, key: str) -> str | None:
        """Send an attempt; return the id of its order, or None where it is not known whether there is one."""
        body = {"product_id": PRODUCT, "user_id": key, "quantity": 1}
        try:
            answer = await client.post(f"{self._url}/orders", json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            return None
        if answer.is_success:
            return str(answer.json()["order_id"])
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            self.wrong.append(f"{key}: {answer.status_code} {answer.text}")
        return None

    async def again(self, client: httpx.AsyncClient) -> None:
        """Send every attempt once more, until it is answered."""
        gate = asyncio.Semaphore(CLIENTS)

        async def retry(key: str, before: str | None) -> None:
            async with gate:
                now = await wait_until(lambda: self.order(client, key), 60, f"{key} is answered")
            if before not in (None, now):
                self.wrong.append(f"{key} was answered with {before}, and then with {now}")
            self.made[key] = now

        await asyncio.gather(*(retry(*attempt) for attempt in self.made.items()))


class Target:
    """A whole fleet on an embedded store, which is started anew when its supervisor has ended."""

    def __init__(self, stack: AsyncExitStack, data: Path) -> None:
        self._stack = stack
        self._data = data
        self._env = {"PORT": str(free_port()), "WORKER_SILENCE_SECONDS": "2"}
        self.running: Fleet

    async def start(self) -> None:
        """Start the fleet, on the port of the last."""
        self.running = await self._stack.enter_async_context(fleet(self._data, api=2, workers=2, env=self._env))

    def pid(self, victim: str) -> int:
        """Return the process id of a role, the supervisor, the template or the store; 0 while there is none."""
        if victim in ROLES:
            return self.running.pid(victim)
        if victim == "template":
            return self.running.template
        parent = self.running.program.pid
        if victim == "supervisor":
            return parent
        return next((pid for pid in descendants(parent) if "valkey" in _name(pid)), 0)

    async def strike(self, victim: str, number: signal.Signals, stopped_seconds: float) -> None:
        """Send a signal; who is stopped goes on after a while, if it is still there, and a dead fleet is followed."""
        pid = self.pid(victim)
        if not pid or not alive(pid):
            return
        with suppress(ProcessLookupError):
            send_signal(pid, number)
        if number is signal.SIGSTOP:
            await asyncio.sleep(stopped_seconds)  # this is the fault itself
            with suppress(ProcessLookupError):
                send_signal(pid, signal.SIGCONT)
        elif victim == "supervisor":
            children = descendants(pid)
            await asyncio.to_thread(self.running.program.process.wait, 30)
            await wait_until(lambda: not any(map(alive, children)), 15, "a supervisor that is gone leaves no child")
            await self.start()


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


async def assert_one_order_each(attempts: Attempts, auditor: Auditor, client: httpx.AsyncClient) -> int:
    """Assert that attempts made one order at most, those that were answered one, and now that they are sent again, too.

    Returns: how many orders there are.
    """
    dump = await auditor.dump()
    orders = Counter(order.user_id for order in dump.orders.values())
    assert {key: n for key, n in orders.items() if n > 1} == {}, "an attempt made two orders"
    lost = {key for key, order in attempts.made.items() if order and order not in dump.orders}
    assert lost == set(), "an order that was answered is not there"
    await attempts.again(client)
    dump = await auditor.at_rest(60)
    assert attempts.wrong == []
    assert Counter(order.user_id for order in dump.orders.values()) == Counter(attempts.made.keys())
    return len(dump.orders)


async def rounds(target: Target, attempts: Attempts, chance: Random, struck: Counter[str]) -> float:
    """Strike at random; return the longest time in which no order was taken after a fault had ended."""

    async def more(orders: int) -> float:
        began, goal = perf_counter(), attempts.accepted + orders
        await wait_until(lambda: attempts.accepted >= goal, 90, "orders are taken")
        return perf_counter() - began

    most = 0.0
    await more(50)
    for _ in range(ROUNDS):
        victim, number = chance.choice(VICTIMS), chance.choice(SIGNALS)
        stopped = chance.choice(STOPPED_SECONDS)
        print("signals:", victim, number.name, stopped if number is signal.SIGSTOP else "")  # noqa: T201
        struck[f"{victim.partition('-')[0]} {number.name}"] += 1
        await target.strike(victim, number, stopped)
        most = max(most, await more(10))
        await more(chance.randrange(10, 50))
    return most


async def test_signals_at_random(tmp_path: Path, seed: int) -> None:
    struck: Counter[str] = Counter()
    async with AsyncExitStack() as stack, http_client(timeout=5) as client:
        target = Target(stack, tmp_path / "data")
        await target.start()
        await put_product(target.running.url, stock=10_000_000)
        attempts = Attempts(target.running.url)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(attempts.run(client)) for _ in range(CLIENTS)]
            back = await rounds(target, attempts, Random(f"{seed}/signals"), struck)
            for task in tasks:
                task.cancel()
        unanswered = len(attempts.made) - attempts.accepted
        auditor = await stack.enter_async_context(Auditor.of(f"unix://{tmp_path}/data/store.sock"))
        orders = await assert_one_order_each(attempts, auditor, client)
    told = {
        "seed": str(seed),
        "rounds": str(ROUNDS),
        "faults": ", ".join(f"{what} {times}" for what, times in sorted(struck.items())),
        "attempts": str(len(attempts.made)),
        "without an answer": str(unanswered),
        "orders at the end": str(orders),
        "lost": "0",
        "doubled": "0",
        "orders taken again after, s": f"{back:.1f}",
    }
    print("signals:", told)  # noqa: T201 - what `make signals` is run for
    if path := os.environ.get(PUT_DOWN):
        put_line(Path(path), "signals", told)
