"""A Docker engine: that of the machine, or Debian's in network, mount and process namespaces of its own."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.ship.debian import CannotShip, cache, engine_root
from deploy.stack.tools import Source, built
from service.parent_death import die_with_parent

START_SECONDS = 60.0
END_SECONDS = 60.0
COMPOSE: Final = Source(
    name="compose",
    version="2.40.3",
    module="github.com/docker/compose/v2",
    revision="v2.40.3",
    programs=("docker-compose",),
    packages=("./cmd",),
)
CGROUP = "flash-sale-ship"
BEGIN = f"""
mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir /run/lock
ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward
printf '{{"deprecated-key-path": "%s"}}' "$1/key.json" > "$1/daemon.json"
exec dockerd --config-file "$1/daemon.json" --host "unix://$1/docker.sock" --exec-root "$1/exec" --pidfile "$1/pid" \\
  --data-root "$2" \\
  --cgroup-parent /{CGROUP} --exec-opt native.cgroupdriver=cgroupfs \\
  --bip 198.18.0.1/24 --default-address-pool base=198.19.0.0/16,size=24
"""
"""The addresses are those set aside for tests of networks; no packet leaves the namespace. `/run` is its own, too."""
CONTAINERD: Final = [Path("/opt/containerd") / name for name in ("bin", "lib", "")]
"""containerd makes these, wherever its data are."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How an engine is spoken to."""

    env: Mapping[str, str]
    inside: tuple[str, ...]
    """What a command begins with to be in the engine's namespaces, where its ports and processes are."""
    published: bool
    """Whether it can fetch published images; otherwise others stand in."""
    network: str = ""
    """The namespace that it has for itself, as /proc names it."""


@contextmanager
def engine() -> Iterator[Engine]:
    """Yield an engine; end it if it was started here.

    Raises:
        CannotShip: There is none, and none can be made here.
        ToolMissing: Compose cannot be built.
    """
    env = dict(os.environ)
    if all(_says_yes(["docker", *asked], env) for asked in (("compose", "version"), ("info",))):
        yield Engine(env=env, inside=(), published=True)
        return
    if os.geteuid() != 0 or sys.platform != "linux" or shutil.which("apt-get") is None:
        raise CannotShip("no Docker engine with Compose answers, and only root on Debian can unpack one")
    root, (compose,) = engine_root(), built(COMPOSE)
    with _alone() as directory, _started(root, compose, directory) as ours:
        yield ours


@contextmanager
def _alone() -> Iterator[Path]:
    """Yield an empty folder for what the engine needs while it runs; nothing of this run or a killed one is left."""
    directory = cache() / "run"
    with (cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotShip("another container test runs on this machine") from None
        ours = [path for path in CONTAINERD if directory.exists() or not path.exists()]  # of a run that was killed, too
        _clean(directory)
        directory.mkdir()
        try:
            yield directory
        finally:
            _clean(directory)
            for path in ours:
                with suppress(OSError):
                    path.rmdir()


def _clean(directory: Path) -> None:
    """Remove the folder of a run and its control groups, which outlive their processes."""
    shutil.rmtree(directory, ignore_errors=True)
    for top in (*Path("/sys/fs/cgroup").glob(CGROUP), *Path("/sys/fs/cgroup").glob(f"*/{CGROUP}")):
        for path in sorted((top, *(found for found in top.rglob("*") if found.is_dir())), reverse=True):
            with suppress(OSError):
                path.rmdir()


def left_over(namespace: str) -> list[str]:
    """Return the processes that are still in an engine's network, and the control groups that are still there."""
    found = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{CGROUP}")]
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with suppress(OSError):
            if str(path.readlink()) == namespace:
                found.append(f"process {path.parts[2]}")
    return found


@contextmanager
def _started(root: Path, compose: Path, directory: Path) -> Iterator[Engine]:
    env = {**os.environ, **_environment(root, compose, directory)}
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", BEGIN, "sh"]
    argv += [str(directory), str(cache() / "engine-data")]
    with (directory / "log").open("wb") as log:
        outer = subprocess.Popen(die_with_parent(argv), env=env, stdout=log, stderr=log, start_new_session=True)  # noqa: S603
    try:
        end = time.monotonic() + START_SECONDS
        while not _says_yes(["docker", "info"], env):
            if outer.poll() is not None or time.monotonic() > end:
                last = (directory / "log").read_text(errors="replace").strip().splitlines()[-3:]
                raise CannotShip(f"the engine did not start: {' / '.join(last)}")
            time.sleep(0.5)
        inside = ("nsenter", f"--target={_child(outer.pid)}", "--net", "--mount", "--pid")
        network = str(Path(f"/proc/{_child(outer.pid)}/ns/net").readlink())
        yield Engine(env=env, inside=inside, published=False, network=network)
    finally:
        with suppress(ProcessLookupError, FileNotFoundError, IndexError):  # it ended by itself
            os.kill(_child(outer.pid), signal.SIGTERM)
        try:
            outer.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            outer.kill()
            outer.wait()


def _environment(root: Path, compose: Path, directory: Path) -> dict[str, str]:
    programs, plugins = directory / "programs", directory / "config" / "cli-plugins"
    programs.mkdir()
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(compose)
    for name in ("iptables", "ip6tables"):  # a package's own scripts make these links
        (programs / name).symlink_to(root / "usr/sbin/xtables-legacy-multi")
    libraries = root / "usr/lib" / f"{os.uname().machine}-linux-gnu"
    return {
        "PATH": f"{programs}:{root / 'usr/bin'}:{root / 'usr/sbin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
        "DOCKER_HOST": f"unix://{directory / 'docker.sock'}",
        "DOCKER_CONFIG": str(directory / "config"),
        "DOCKER_BUILDKIT": "0",
        "TMPDIR": str(directory),
    }


def _child(pid: int) -> int:
    """Return the one process that `unshare` has started: the engine."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _says_yes(argv: list[str], env: Mapping[str, str]) -> bool:
    program = shutil.which(argv[0], path=env["PATH"])
    if program is None:
        return False
    return subprocess.run([program, *argv[1:]], env=env, capture_output=True, check=False).returncode == 0  # noqa: S603
