"""Slots belong to processes that are alive, and a meeting place to those who accept at one address."""

import ast
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from telemetry import Telemetry, TelemetrySettings
from telemetry.prometheus.meeting_place import meeting_place
from telemetry.prometheus.slots import Slot, SlotTakenError, claim, remove_if_dead
from tests.support import Program
from tests.support.processes import alive, start

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, pathlib, time
from telemetry.prometheus.slots import claim
slot = claim(pathlib.Path(sys.argv[1]))
print("claimed", slot.name, flush=True)
time.sleep(60)
"""
FORK = """
import os, sys, pathlib, time
from telemetry.prometheus.slots import claim
slot = claim(pathlib.Path(sys.argv[1]))
if os.fork():
    time.sleep(60)
print("child", os.getpid(), flush=True)
ends = time.monotonic() + 60
while not pathlib.Path(sys.argv[1], "end").exists() and time.monotonic() < ends:
    time.sleep(0.05)
"""
CLEANED = """
import pathlib, sys
from telemetry.prometheus.slots import Slot, SlotTakenError

path = pathlib.Path(sys.argv[1], "worker-0.lock")
there = [path]

def clean(event, arguments):
    if event == "fcntl.flock" and there:  # before the call: the file is open, and not locked yet
        there.pop().unlink()

sys.addaudithook(clean)
slot = Slot(path.parent, "worker-0")
try:
    Slot(path.parent, "worker-0")
except SlotTakenError:
    print("one", not there, flush=True)
else:
    print("two", flush=True)
"""


def test_the_first_free_slot_is_claimed(tmp_path: Path) -> None:
    slots = [claim(tmp_path) for _ in range(3)]
    assert [slot.name for slot in slots] == ["worker-0", "worker-1", "worker-2"]
    slots[1].release()
    slots[1].release()
    assert claim(tmp_path).name == "worker-1"


def test_a_killed_process_has_its_slot_no_more(tmp_path: Path) -> None:
    """And its socket may go; that of one that is alive may not."""
    with Program([sys.executable, "-c", HOLD, str(tmp_path)]) as process:
        process.wait_for_line("claimed worker-0")
        path = tmp_path / "worker-0.sock"
        path.touch()
        assert not remove_if_dead(path)
        with pytest.raises(SlotTakenError, match="worker-0"):
            Slot(tmp_path, "worker-0")
        process.kill9()
    assert remove_if_dead(path)
    assert not remove_if_dead(path)
    assert claim(tmp_path).name == "worker-0"


def test_a_child_does_not_hold_the_slot_of_its_parent(tmp_path: Path) -> None:
    """It lives on when the parent is killed; nor does it take the slot from it."""
    with Program([sys.executable, "-c", FORK, str(tmp_path)]) as process:
        child = int(process.wait_for_line("child").split()[1])
        assert claim(tmp_path).name == "worker-1"
        process.kill9()
        try:
            assert alive(child)
            assert claim(tmp_path).name == "worker-0"
            assert alive(child)
        finally:
            (tmp_path / "end").touch()


def test_a_lock_that_was_cleaned_up_is_made_anew(tmp_path: Path) -> None:
    slot = claim(tmp_path)
    (tmp_path / "worker-0.lock").unlink()
    slot.release()
    held = Slot(tmp_path, "worker-0")
    with pytest.raises(SlotTakenError):
        Slot(tmp_path, "worker-0")
    held.release()


def test_a_lock_that_is_cleaned_up_while_it_is_taken_is_nobodys(tmp_path: Path) -> None:
    """Who has locked a file that is at its path no more has nothing that the next one would see."""
    with Program([sys.executable, "-c", CLEANED, str(tmp_path)]) as process:
        assert process.wait_for_line("o") == "one True"


def test_a_slot_is_in_place_while_others_see_its_socket_and_its_own_lock(tmp_path: Path) -> None:
    """Another file at the same path is somebody else's."""
    slot = claim(tmp_path)
    lock = tmp_path / "worker-0.lock"
    assert not slot.is_in_place()
    slot.socket_path.touch()
    assert slot.is_in_place()
    lock.unlink()
    assert not slot.is_in_place()
    lock.touch()
    assert not slot.is_in_place()
    slot.release()


ADDRESS = """
import socket
from telemetry.prometheus.meeting_place import meeting_place, served_address
pair = socket.socketpair()
print([served_address(), str(meeting_place("shop"))])
"""


def told(given: socket.socket | None, temporary: Path) -> list[object]:
    """Return the address and the meeting place of a process that was given a socket."""
    fds = [] if given is None else [given.fileno()]
    environ = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", ADDRESS]
    with start(command, pass_fds=fds, env=environ, cwd=ROOT, stdout=subprocess.PIPE) as process:
        said, _ = process.communicate(timeout=60)
    found: list[object] = ast.literal_eval(said.decode())
    return found


@pytest.fixture
def short() -> Iterator[Path]:
    """Make a directory whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="fs-") as directory:
        yield Path(directory)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_who_accepts_at_one_address_meets(family: socket.AddressFamily, short: Path) -> None:
    """The socket is bound, whether it listens already or not; nobody else comes in."""
    with socket.socket(family) as given:
        given.bind(str(short / "socket") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        address, place = told(given, short)
        given.listen()
        assert told(given, short) == [address, place]
    assert address == given_name(short) if family == socket.AF_UNIX else isinstance(address, tuple)
    directory = Path(str(place))
    assert directory.parent.parent == short
    assert (stat.S_IMODE(directory.stat().st_mode), stat.S_IMODE(directory.parent.stat().st_mode)) == (0o700, 0o700)


def given_name(directory: Path) -> str:
    """Return the name of the socket in a directory."""
    return str(directory / "socket")


def test_without_a_socket_or_with_another_there_is_no_meeting(short: Path) -> None:
    assert told(None, short) == [None, "None"]
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        assert told(one, short)[1] != told(two, short)[1]


def test_a_long_temporary_directory_is_not_taken(tmp_path: Path) -> None:
    """The kernel takes paths of sockets up to a hundred bytes."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        place = str(told(given, long)[1])
    assert len(place) < 80
    with suppress(FileNotFoundError):  # somebody who starts meanwhile may have cleared it away: it is empty
        Path(place).rmdir()


async def test_what_belongs_to_somebody_else_is_not_used(
    short: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process serves alone, and says so."""
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    (short / f"truemeter-{os.geteuid()}").mkdir(mode=0o755)
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        with pytest.raises(PermissionError):
            meeting_place("shop")
        with Telemetry(TelemetrySettings(service_name="shop"), set_global=False) as telemetry:
            async with telemetry.serving_peers():
                assert telemetry.worker == "main"
                assert b'worker="main"' in (await telemetry.exposition_of_all())[0]
    [line] = [line for line in caplog.messages if "TELEMETRY_SOCKET_DIR" in line]
    assert "this process alone" in line
