"""A process hears SIGTERM, Ctrl-C and SIGHUP at once, whatever it is doing: waiting, starting, or full of work."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest

from service.cancellation import cancel_and_wait, mend_wait_for
from service.store.client import connect
from tests.support import Program, RedisServer, eventually
from tests.support.processes import alive, send_signal
from tests.support.program import SCRIPT
from tests.support.service import Fleet

AT_ONCE_SECONDS = 5  # of a busy machine; it was 23 to 30 s, or never


@pytest.fixture
def nobody() -> Iterator[str]:
    """Yield the address of a store at which nobody answers: connections are taken, and nothing is said."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(128)
        yield f"redis://127.0.0.1:{silent.getsockname()[1]}"


@pytest.fixture
def chance() -> random.Random:
    """Print the seed of the test and return its chance; `FAULTS_SEED` repeats one."""
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(2**32))
    print(f"FAULTS_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return random.Random(seed)


@pytest.mark.parametrize(
    ("command", "number"), [("run", signal.SIGINT), ("api", signal.SIGTERM), ("worker", signal.SIGHUP)]
)
def test_while_the_store_is_waited_for(nobody: str, command: str, number: signal.Signals) -> None:
    """It says what it waits for, by the variable's name, and ends cleanly as soon as it is told to."""
    with Program([SCRIPT, command], env={"REDIS_URL": nobody, "PORT": "0"}) as program:
        program.wait_for_line("REDIS_URL: waiting for the store", 30)
        began = perf_counter()
        assert program.signal(number) == 0, program.output
        assert perf_counter() - began < AT_ONCE_SECONDS
        assert "Traceback" not in program.output


def test_a_child_hears_it_too_while_the_store_is_waited_for(valkey_server: RedisServer) -> None:
    """The store went away between the parent's look at it and the child's."""
    with Fleet(valkey_server.url, command="api", wait=False) as fleet:
        pid = fleet.pid("api-0")
        valkey_server.pause()
        try:
            eventually(lambda: "waiting for the store" in fleet.log or fleet_is_up(fleet), 30, "it waits, or is up")
            began = perf_counter()
            send_signal(pid, signal.SIGTERM)
            eventually(lambda: not alive(pid), 15, "the child has ended")
            assert perf_counter() - began < AT_ONCE_SECONDS
        finally:
            valkey_server.resume()


def fleet_is_up(fleet: Fleet) -> bool:
    return "Application startup complete" in fleet.log


def test_while_the_embedded_store_loads(tmp_path: Path) -> None:
    """A server that never gets ready, as one with a large log for minutes."""
    slow = tmp_path / "bin" / "valkey-server"
    slow.parent.mkdir()
    slow.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(100)\n")
    slow.chmod(0o755)
    code = (
        "import service.store.embedded as embedded\n"
        f"embedded.server_program = lambda: {str(slow)!r}\n"
        "from service.cli import main\n"
        "main()\n"
    )
    env = {"REDIS_URL": "", "DATA_DIR": str(tmp_path / "data"), "PORT": "0"}
    with Program([sys.executable, "-c", code, "run"], env=env) as program:
        program.wait_for_line("DATA_DIR: waiting for the store", 30)
        began = perf_counter()
        assert program.signal(signal.SIGTERM) == 0, program.output
        assert perf_counter() - began < AT_ONCE_SECONDS


def test_nohup_survives_a_terminal_that_goes(valkey_server: RedisServer) -> None:
    with Program(["nohup", SCRIPT, "api"], env={"REDIS_URL": valkey_server.url, "PORT": "0"}) as program:
        program.wait_for_line("Application startup complete", 60)
        program.process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            program.process.wait(1)
        assert program.terminate() == 0


async def test_no_cancellation_is_lost_in_a_call_of_the_store(
    valkey_server: RedisServer, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loops that call the store end at the first word, at whatever moment of a call it comes."""
    monkeypatch.setattr(asyncio, "wait_for", asyncio.wait_for)  # put back at the end
    mend_wait_for()

    async def call() -> None:
        while True:
            await client.ping()

    async with connect(valkey_server.url, name="test") as client, asyncio.timeout(60):
        for _ in range(100):
            tasks = [asyncio.create_task(call()) for _ in range(3)]
            await asyncio.sleep(chance.uniform(0, 0.005))
            await cancel_and_wait(tasks)
            assert all(task.cancelled() and task.cancelling() == 1 for task in tasks)


def test_order_workers_under_load_hear_every_sigterm(valkey_server: RedisServer, chance: random.Random) -> None:
    """Twelve times in a row, at any moment; none is left to be killed, and none goes on taking orders."""
    env = {"CROWD": "150", "SHUTDOWN_SECONDS": "3", "LOG_LEVEL": "info"}
    workers = [f"order-{slot}" for slot in range(3)]
    with Fleet(valkey_server.url, workers=len(workers), env=env) as fleet:
        for _ in range(4):
            chance.shuffle(workers)
            for role in workers:
                pid = fleet.kill(role, signal.SIGTERM)
                eventually(lambda pid=pid: not alive(pid), 3 + AT_ONCE_SECONDS, f"{role} ({pid}) has ended")  # type: ignore[misc]
                fleet.wait_for_restart(role, pid)
        assert "Traceback" not in fleet.log
