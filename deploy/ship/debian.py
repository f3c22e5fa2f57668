"""What comes from Debian's packages: an engine, root file systems; kept in a cache.

The cache is `$XDG_CACHE_HOME/flash-sale/ship/NAME-VERSION/`, beside that of the stack's programs. Packages are
unpacked, never installed, and come from wherever this machine's apt and pip are set up to fetch from.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ENGINE: Final = ("docker.io", "containerd", "runc", "iptables", "libip4tc2", "libip6tc2", "libxtables12")
ENGINE_LIBRARIES: Final = ("libnftnl11", "libmnl0", "libnetfilter-conntrack3", "libnfnetlink0")
BOOTSTRAP: Final = ("mmdebstrap",)
PARTS_SUITE: Final = "forky"
"""Of the parts: its nginx looks names up again (1.27.3 and newer), its Valkey is that of docker-compose.yml."""
PARTS_PACKAGES: Final = ("busybox", "nginx-light", "valkey-server", "valkey-tools", "ca-certificates")
PYTHON_PACKAGES: Final = ("python3-minimal", "python3-venv", "ca-certificates")
NICE: Final = ("nice", "-n", "5")


class CannotShip(RuntimeError):  # noqa: N818 - says what is the case
    """This machine can neither run containers nor make an engine that does; the message is one line."""


def cache() -> Path:
    """Where all of it is kept."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "flash-sale" / "ship"


def engine_root() -> Path:
    """Return the folder with the engine's programs, unpacked there if it is not yet."""
    return _unpacked("engine", (*ENGINE, *ENGINE_LIBRARIES))


def root_file_system(suite: str, packages: Sequence[str]) -> Path:
    """Return the archive of a small Debian with these packages, made if it is not there yet: a minute, once."""
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
    archive = cache() / f"{suite}-{key}" / "root.tar"
    if archive.is_file():
        return archive
    _told(f"making a small Debian {suite}: a minute, once")
    archive.parent.mkdir(parents=True, exist_ok=True)
    fresh = archive.with_suffix(f".{os.getpid()}.tar")
    program = _unpacked("bootstrap", BOOTSTRAP) / "usr" / "bin"
    options = ['Apt::Install-Recommends "false"', 'Acquire::Check-Valid-Until "false"']
    with tempfile.TemporaryDirectory(prefix="flash-sale-build-") as temporary:
        Path(temporary).chmod(0o755)
        argv = ["mmdebstrap", "--mode=root", "--variant=essential", f"--include={','.join(packages)}"]
        argv += [*(f"--aptopt={option}" for option in options), suite, str(fresh), _mirror()]
        ran(argv, env={"PATH": f"{program}:{os.environ['PATH']}", "TMPDIR": temporary})
    fresh.replace(archive)
    return archive


def wheels(requirements: Sequence[Path], python: str, target: Path) -> None:
    """Put the wheels that are pinned in these files, for CPython `python` (`3.13`), into a folder."""
    target.mkdir()
    machine = os.uname().machine
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (40, 34, 28, 17, 12, 5)]
    platforms += [f"{name}_{machine}" for name in ("manylinux2014", "manylinux1", "linux")]
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    argv += ["--only-binary=:all:", "--require-hashes", f"--python-version={python}", "--implementation=cp"]
    argv += [f"--abi={abi}" for abi in (f"cp{python.replace('.', '')}", "abi3", "none")]
    argv += [f"--platform={platform}" for platform in platforms]
    ran([*argv, f"--dest={target}", *(f"--requirement={path}" for path in requirements)])


def ran(argv: Sequence[str], cwd: Path | str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        CannotShip: It is not there, or it failed.
    """
    if shutil.which(argv[0], path=(env or {}).get("PATH")) is None:
        raise CannotShip(f"no {argv[0]} on the PATH")
    done = subprocess.run(  # noqa: S603 - the programs that are named above
        [*NICE, *argv], cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise CannotShip(f"{' '.join(argv[:3])}: {last[0]}")
    return done.stdout


def _unpacked(name: str, packages: Sequence[str]) -> Path:
    policy = ran(["apt-cache", "policy", *packages])
    candidates = [line.strip() for line in policy.splitlines() if "Candidate:" in line]
    root = cache() / f"{name}-{hashlib.sha256(' '.join(candidates).encode()).hexdigest()[:8]}"
    if root.is_dir():
        return root
    _told(f"unpacking {', '.join(packages)} of Debian")
    with tempfile.TemporaryDirectory(prefix="flash-sale-build-") as temporary:
        ran(["apt-get", "download", *packages], cwd=temporary)
        fresh = cache() / f".{name}.{os.getpid()}"
        fresh.mkdir(parents=True)
        for package in sorted(Path(temporary).glob("*.deb")):
            ran(["dpkg", "-x", str(package), str(fresh)])
        fresh.rename(root)
    return root


def _mirror() -> str:
    """Return where this machine's apt has Debian itself from."""
    told = ran(["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"])
    found = [line.partition(" ")[2] for line in told.splitlines() if line.startswith("Debian ")]
    if not found:
        raise CannotShip("apt knows no mirror of Debian; `apt-get update` first")
    return found[0]


def _told(text: str) -> None:
    sys.stderr.write(f"ship: {text}\n")
