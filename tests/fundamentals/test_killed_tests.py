"""A test run that is killed leaves nothing behind: neither what it started nor what that has started."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support import Program, eventually
from tests.support.processes import ROOT, alive, descendants, send_signal

EVERYTHING = """
import asyncio, signal
from pathlib import Path
import pytest
from playwright.async_api import async_playwright
from deploy.stack import Stack
from tests.support import Program, RedisServer, executable
from tests.support.service import Fleet

async def test_starts_one_of_each_and_never_ends(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\\n\\tsleep 610\\n")
    with (
        RedisServer("redis"),
        RedisServer("valkey"),
        Program(["make", "-C", str(tmp_path)], when_parent_dies=signal.SIGTERM),
        Stack(tmp_path / "stack", parts=("redis", "api-1", "api-2", "front")),
        Fleet(tmp_path / "data", api=2),
    ):
        async with async_playwright() as playwright:
            await playwright.chromium.launch(executable_path=executable("chromium"), args=["--no-sandbox"])
            Path("READY").touch()
            await asyncio.sleep(600)
"""
NAMES = {"chromium", "make", "nginx", "redis-server", "sleep", "valkey-server"}


def name(pid: int) -> str:
    """Return what the kernel calls a process, and nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.needs("chromium", "make", "nginx", "redis-server")
@pytest.mark.parametrize("processes", [(), ("-n", "1")], ids=["one process", "several processes"])
def test_what_tests_have_started_ends_with_them(tmp_path: Path, processes: tuple[str, ...]) -> None:
    """Stores, fleets with a store of their own, a stack, a browser, and `make`, which ends what it runs."""
    file, ready = tmp_path / "test_everything.py", tmp_path / "ready"
    file.write_text(EVERYTHING.replace("READY", str(ready)))
    argv = ["-m", "pytest", "-q", "-s", f"--rootdir={ROOT}", f"-c{ROOT / 'pyproject.toml'}", str(file)]
    with Program.python(*argv, *processes, "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'base'}") as tests:
        eventually(lambda: ready.exists() or not tests.running(), 120, "everything runs")
        assert tests.running(), tests.output
        started = descendants(tests.pid)
        assert {name(pid) for pid in started} >= NAMES
        assert len([pid for pid in started if name(pid).startswith(("python", "flash-sale"))]) >= 6
        tests.kill9()
        eventually(lambda: not any(map(alive, started)), 30, "all of it has ended")


def test_a_number_that_belongs_to_somebody_else_gets_no_signal() -> None:
    """The kernel gives numbers of processes that have ended to new ones."""
    with pytest.raises(AssertionError, match="none of ours"):
        send_signal(os.getppid(), signal.SIGCONT)
    with Program(["sleep", "60"]) as child:
        send_signal(child.pid, signal.SIGKILL)
        assert child.process.wait(5) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        send_signal(child.pid, signal.SIGKILL)
