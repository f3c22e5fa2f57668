"""What may happen to a sale at random: processes, the store and the payment gateway die, hang, fill or are cut off."""

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.faults.bank import BankProcess
from tests.support import RedisServer
from tests.support.processes import alive, send_signal
from tests.support.service import Fleet


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
