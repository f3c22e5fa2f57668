"""The programs of the stack: found in a cache keyed by version, else on the PATH, else built from source with Go.

The source is a module from Go's module proxy, checked against its checksum database, copied to where it can be
written, and built as the main module, so that its own `replace` directives and checksums hold. The collector is
generated from `otelcol-builder.yaml` first. The cache is `$XDG_CACHE_HOME/flash-sale/stack/NAME-VERSION/`.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
MANIFEST: Final = HERE / "otelcol-builder.yaml"
CHECKER: Final = HERE / "compose-check"
API_TOOLS: Final = HERE / "api-tools"
_PEERS: Final = HERE.parents[1] / "benchmarks" / "peers"
GO_PEER: Final = (*sorted((_PEERS / "go").iterdir()), _PEERS / "baseline.lua")
PYTHON_CLIENTS: Final = HERE.parents[1] / "requirements" / "clients.txt"
NICE: Final = ["nice", "-n", "5"]
PAGE: Final = b"<!doctype html><title>The API is here; the page is in the image.</title>\n"


class ToolMissing(LookupError):  # noqa: N818 - says what is the case
    """A program is neither in the cache nor on the PATH, or cannot be built; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where some programs come from."""

    name: str
    version: str
    programs: tuple[str, ...]
    files: tuple[Path, ...] = ()
    """The source, where it is here."""
    module: str = ""
    """A module of the proxy, at `revision`."""
    revision: str = ""
    packages: tuple[str, ...] = ()
    """Where in the module the programs are; without it, in `cmd`."""
    tags: str = ""
    placeholders: tuple[str, ...] = ()
    """Files that the build embeds and the module does not carry: web pages, which nothing here looks at."""
    npm: Path | None = None
    """A folder that names packages of npm's: what is installed, not built."""
    pip: Path | None = None
    """A file that names packages of Python's, for an environment of their own."""
    on_path: Mapping[str, str] = field(default_factory=dict)
    """What a Linux distribution calls them; good enough where nothing was built."""


def sources() -> list[Source]:
    """Everything that can be built."""
    return [
        Source(
            name="alertmanager",
            version="0.34.2",
            module="github.com/prometheus/alertmanager",
            revision="v0.34.2",
            programs=("alertmanager", "amtool"),
            placeholders=("ui/app/dist/index.html",),
            on_path={"alertmanager": "prometheus-alertmanager", "amtool": "amtool"},
        ),
        Source(
            name="prometheus",
            version="3.16.0",
            module="github.com/prometheus/prometheus",
            revision="v0.316.0",
            programs=("promtool", "prometheus"),
            # Without the clients of some twenty clouds; the configuration names its targets.
            tags="remove_all_sd,enable_dns_sd",
            on_path={"prometheus": "prometheus", "promtool": "promtool"},
        ),
        Source(name="otelcol", version=f"{_collector_version()}-{_digest(MANIFEST)}", programs=("otelcol",)),
        Source(
            name="jaeger",
            version="2.13.0",
            module="github.com/jaegertracing/jaeger",
            revision="v1.76.0",  # the same commit: Go's tools know Jaeger 2 by the numbers of Jaeger 1
            programs=("jaeger",),
        ),
        Source(
            name="kustomize",
            version="5.7.1",
            module="sigs.k8s.io/kustomize/kustomize/v5",
            revision="v5.7.1",
            programs=("kustomize",),
            packages=(".",),
        ),
        *_own(),
        *_installed(),
    ]


def _own() -> list[Source]:
    """Return the programs whose source is here."""
    found = {"compose-check": tuple(sorted(CHECKER.iterdir())), "go-peer": GO_PEER}
    return [
        Source(name=program, version=_digest(*files), programs=(program,), files=files)
        for program, files in found.items()
    ]


def _installed() -> list[Source]:
    """Return what is installed, not built: it reads the documents of the API."""
    return [
        Source(
            name="api-tools",
            version=_digest(*sorted(API_TOOLS.iterdir())),
            programs=("openapi-typescript", "tsc", "spectral"),
            npm=API_TOOLS,
        ),
        Source(
            name="python-clients",
            version=_digest(PYTHON_CLIENTS),
            programs=("openapi-python-client",),
            pip=PYTHON_CLIENTS,
        ),
    ]


def find(program: str) -> Path:
    """Return the path of a program.

    Raises:
        ToolMissing: It was not built and the PATH does not have it.
    """
    for source in sources():
        if program in source.programs:
            built = folder(source) / program
            if built.is_file():
                return built
            return _on_path(source.on_path.get(program, program), program)
    return _on_path(program, program)


def folder(source: Source) -> Path:
    """Where the programs of a source are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "flash-sale" / "stack" / f"{source.name}-{source.version}"


def build(names: Iterable[str] = ()) -> list[Path]:
    """Build what is not there yet, all of it or the sources that are named, and return every path.

    Raises:
        ToolMissing: There is no Go or no npm, or a build or an installation failed.
    """
    wanted = set(names)
    paths = []
    for source in sources():
        if wanted and source.name not in wanted:
            continue
        paths += built(source)
    return paths


def built(source: Source) -> list[Path]:
    """Return the paths of a source's programs, built if one is not there yet.

    Raises:
        ToolMissing: There is no Go or no npm, or the build or the installation failed.
    """
    paths = [folder(source) / program for program in source.programs]
    if not all(path.is_file() for path in paths):
        _make(source)
    return paths


def _make(source: Source) -> None:
    if source.npm:
        _install_npm(source, source.npm)
    elif source.pip:
        _install_pip(source, source.pip)
    else:
        _build(source)


def _build(source: Source) -> None:
    if shutil.which("go") is None:
        raise ToolMissing(f"{source.name}: it is built with Go (1.25 or newer), and there is no go on the PATH")
    sys.stderr.write(f"building {source.name} {source.version} with Go: minutes, once\n")
    target = folder(source)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flash-sale-build-") as temporary:
        work = Path(temporary) / "src"
        packages = _fetch(source, work) if source.module else _generate(source, work)
        for package, program in zip(packages, source.programs, strict=True):
            fresh = target / f".{program}.{os.getpid()}"
            options = ["-trimpath", f"-tags={source.tags}", "-ldflags=-s -w", "-o", str(fresh)]
            _run(["go", "build", *options, package], work)
            fresh.replace(target / program)


def _install_npm(source: Source, packages: Path) -> None:
    """Install packages of npm's, of which none may run a script of its own, and put their programs beside them."""
    if shutil.which("npm") is None:
        raise ToolMissing(f"{source.name}: its programs come from npm (Node.js 20 or newer), and there is no npm here")
    sys.stderr.write(f"installing {source.name} with npm, once\n")
    target = folder(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".api-tools-", dir=target.parent) as temporary:
        fresh = Path(temporary) / "fresh"
        shutil.copytree(packages, fresh)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], fresh)
        for program in source.programs:
            (fresh / program).symlink_to(f"node_modules/.bin/{program}")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def _install_pip(source: Source, packages: Path) -> None:
    """Install packages of Python's into an environment of their own, and put their programs beside it."""
    sys.stderr.write(f"installing {source.name} with pip, once\n")
    target = folder(source)
    _run([sys.executable, "-m", "venv", "--clear", str(target)], HERE)
    options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
    _run([str(target / "bin/python"), "-m", "pip", "install", *options, "-r", str(packages)], HERE)
    for program in source.programs:
        (target / program).symlink_to(f"bin/{program}")


def _fetch(source: Source, work: Path) -> list[str]:
    """Copy a module's source to `work` and return its packages."""
    work.mkdir()
    told = _run(["go", "mod", "download", "-json", f"{source.module}@{source.revision}"], work)
    work.rmdir()
    shutil.copytree(json.loads(told)["Dir"], work)
    for path in [work, *work.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)
    for placeholder in source.placeholders:
        path = work / placeholder
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PAGE)
    return list(source.packages) or [f"./cmd/{program}" for program in source.programs]


def _generate(source: Source, work: Path) -> list[str]:
    """Make the source of a program of our own in `work`: a copy, or what the collector's builder writes."""
    work.mkdir()
    if source.files:
        for file in source.files:
            shutil.copy(file, work)
        return ["."]
    builder = f"go.opentelemetry.io/collector/cmd/builder@v{_collector_version()}"
    _run(["go", "run", builder, f"--config={MANIFEST}", "--skip-compilation", f"--output-path={work}"], work)
    return ["."]


def _run(argv: list[str], directory: Path) -> str:
    env = os.environ | {"GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
    done = subprocess.run([*NICE, *argv], cwd=directory, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - go, with our own arguments
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ToolMissing(f"{' '.join(argv[:3])}: {last[0]}")
    return done.stdout


def _collector_version() -> str:
    found = re.search(r"^  version: (\S+)$", MANIFEST.read_text(), re.MULTILINE)
    if found is None:
        raise ToolMissing(f"{MANIFEST.name} has no version")
    return found[1]


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:8]


def _on_path(name: str, program: str) -> Path:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise ToolMissing(f"no {program}: neither built (`make stack-tools`) nor on the PATH")
    return Path(found)
