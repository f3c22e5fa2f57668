"""Processes that tests start: they end with the test process, whatever ends it, and only they get signals by number.

The kernel sees to the first (`service.parent_death`): a `pytest` that is killed leaves nothing behind, for what it
started is ended, and what that has started ends by the same means.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from service.parent_death import die_with_parent
from tests.support.counts import injected, mended

_PR_SET_PDEATHSIG = 1
ROOT = Path(__file__).resolve().parents[2]


def start(
    argv: Sequence[str], *, when_parent_dies: signal.Signals = signal.SIGKILL, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a program that gets a signal when the test process ends; `options` are those of `subprocess.Popen`.

    Start it from a thread that lives as long as it is needed: for the kernel, that thread is the parent.
    """
    return subprocess.Popen(die_with_parent(argv, when_parent_dies), **options)


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    stdout: int | IO[Any] = subprocess.PIPE,
    timeout: float = 60,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its status and what it wrote.

    Args:
        argv: The program and its arguments.
        cwd: Where it runs.
        env: Its whole environment; that of the tests without it.
        stdin: What it reads; nothing without it.
        stdout: Where its output goes when the caller does not want it.
        timeout: Seconds after which it is killed.
        check: Whether a status other than 0 is an error.

    Raises:
        subprocess.TimeoutExpired: It ran longer than `timeout`.
        subprocess.CalledProcessError: Its status was not 0 and `check` is set.
    """
    return subprocess.run(
        die_with_parent([str(word) for word in argv]),
        cwd=cwd,
        env=env,
        input=stdin or "",
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=check,
    )


def end_with_parent() -> None:
    """Let the kernel kill this process when the one that started it ends (Linux only)."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that these tests have started, or that such a one has started.

    Raises:
        ProcessLookupError: It has ended.
        AssertionError: The number belongs to somebody else by now; nothing is sent.
    """
    if sys.platform != "linux":
        os.kill(pid, number)
        return
    handle = os.pidfd_open(pid)  # from here on it is this process or none, whatever becomes of the number
    try:
        assert os.getpid() in ancestors(pid), f"process {pid} is none of ours"
        signal.pidfd_send_signal(handle, number)
        if number is signal.SIGCONT:
            mended()
        else:
            injected(lasts=number is signal.SIGSTOP)
    finally:
        os.close(handle)


def ancestors(pid: int) -> list[int]:
    """Return the parent of a process, the parent's parent and so on (Linux only)."""
    found = []
    with suppress(OSError):
        while pid > 1:
            pid = int(_stat(pid)[1])
            found.append(pid)
    return found


def descendants(pid: int) -> set[int]:
    """Return the processes that a process has started, those that they have started, and so on (Linux only)."""
    everybody = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return {each for each in everybody if pid in ancestors(each)}


def alive(pid: int) -> bool:
    """Whether a process with this id exists and is no zombie (Linux only)."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def title(pid: int) -> list[str]:
    """Return the command line of a process, nothing of one that has ended (Linux only)."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    return []


def exists(pid: int) -> bool:
    """Whether a process with this id exists, be it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat that follow the name: the state, the parent's id, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
