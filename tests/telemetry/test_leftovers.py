"""Where processes met is taken away when all of them have ended, and never below one that comes."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from telemetry.prometheus.leftovers import claim_in, clear
from telemetry.prometheus.meeting_place import make_anew
from telemetry.prometheus.slots import Slot
from tests.support.processes import start

ROOT = Path(__file__).parents[2]
MEET = """
import asyncio, os, sys
from telemetry import Telemetry, TelemetrySettings
async def serve():
    with Telemetry(TelemetrySettings(service_name="shop"), set_global=False) as telemetry:
        async with telemetry.serving_peers():
            print("serves as", telemetry.worker, flush=True)
            await asyncio.to_thread(sys.stdin.readline)
asyncio.run(serve())
print("ended", flush=True)
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """Make a directory whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="fs-") as directory:
        yield Path(directory)


class Meeting:
    """Processes that accept at one address, with a temporary directory of their own."""

    def __init__(self, temporary: Path, given: socket.socket) -> None:
        self._environ = {**os.environ, "TMPDIR": str(temporary)}
        self._given = given
        self._home = temporary / f"truemeter-{os.geteuid()}"

    def begin(self, number: int = 1) -> list[subprocess.Popen[bytes]]:
        """Start so many at one time."""
        fds = [self._given.fileno()]
        command = [sys.executable, "-c", MEET]
        options: dict[str, Any] = {"pass_fds": fds, "env": self._environ, "cwd": ROOT}
        return [
            start(command, **options, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(number)
        ]

    def places(self) -> list[Path]:
        """Return the directories of those who meet."""
        return sorted(self._home.iterdir()) if self._home.exists() else []


def named(processes: list[subprocess.Popen[bytes]]) -> list[str]:
    """Return the names under which processes serve."""
    lines = [process.stdout.readline().decode() for process in processes if process.stdout]
    assert all(line.startswith("serves as ") for line in lines), lines
    return sorted(line.split()[-1] for line in lines)


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Let them end in good order, at one time."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, b"")


def test_the_last_to_leave_takes_the_meeting_place_away(short: Path) -> None:
    """However many leave at once; those who stay are not disturbed, and whoever comes later begins anew."""
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        meeting = Meeting(short, given)
        first, *others = processes = meeting.begin(4)
        assert named(processes) == [f"worker-{number}" for number in range(4)]
        end(others)
        [place] = meeting.places()
        assert [path.suffix for path in place.glob("*.sock")] == [".sock"]
        end([first])
        assert meeting.places() == []
        again = meeting.begin(2)
        assert named(again) == ["worker-0", "worker-1"]
        end(again)
        assert meeting.places() == []


def test_a_later_start_takes_away_what_killed_processes_left(short: Path) -> None:
    """Of other servers; not what belongs to one that is alive, nor what is none of ours."""
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for given in (one, two, three):
            given.bind(("127.0.0.1", 0))
        killed, alive_one, later = (Meeting(short, given) for given in (one, two, three))
        victims, others = killed.begin(2), alive_one.begin()
        named(victims)
        named(others)
        foreign = short / f"truemeter-{os.geteuid()}" / "somebody"
        foreign.mkdir()
        (foreign / "file").touch()
        for victim in victims:
            victim.kill()
            victim.communicate()
        assert len(later.places()) == 3
        third = later.begin()
        named(third)
        assert len(later.places()) == 3
        assert foreign in later.places()
        end(others)
        end(third)
        assert later.places() == [foreign]


def test_who_comes_while_the_last_leaves_has_a_place(short: Path) -> None:
    """A hundred times, in threads of one process: each claims a slot of its own that is in place, or made anew."""
    place = short / "x" / "y"
    failed: list[BaseException] = []

    def come_and_go() -> None:
        try:
            for _ in range(100):
                slot = claimed(place)
                slot.socket_path.touch(exist_ok=False)
                assert slot.is_in_place()
                slot.socket_path.unlink()
                slot.release()
                clear(place)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert not place.exists()


def claimed(place: Path) -> Slot:
    """Claim a slot, as a process does that meets others."""
    while True:
        make_anew(place)
        with suppress(FileNotFoundError):
            return claim_in(place)
