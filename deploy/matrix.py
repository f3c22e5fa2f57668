"""`python -m deploy.matrix` runs `truemeter` on each combination of versions that its ranges promise.

Each cell is an environment of its own with exactly these versions, in which `deploy/matrix_smoke.py` serves an
application by uvicorn under every interceptor, recorded and not, and looks at its series and spans. `--write` puts the
results into docs/truemeter-matrix.md.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
DOCUMENT: Final = ROOT / "docs" / "truemeter-matrix.md"
SMOKE: Final = ROOT / "deploy" / "matrix_smoke.py"
UV: Final = (sys.executable, "-m", "uv")
FASTAPI: Final = (
    *("0.143.0", "0.145.0", "0.147.0", "0.150.0", "0.153.0", "0.155.0", "0.158.0", "0.160.0"),
    *("0.162.0", "0.163.0", "0.164.0", "0.165.0"),
)
STARLETTE: Final = ("1.6.0", "1.7.0", "1.8.0", "1.9.0", "1.10.0")
OPENTELEMETRY: Final = (("1.44.0", "0.65b0"), ("1.45.0", "0.66b0"), ("1.45.1", "0.66b1"), ("1.45.2", "0.66b2"))
BESIDE: Final = ("logfire==5.4.0", "sentry-sdk==2.75.0")
BESIDE_SMOKE: Final = ROOT / "deploy" / "matrix_beside.py"
PROMETHEUS: Final = ("0.24.0", "0.24.1", "0.25.0", "0.26.0")
HEAD: Final = """# The versions that truemeter is run on

`make matrix` writes this page, and a workflow runs it each week: an environment for each line, with exactly these
versions, in which an application is served by uvicorn under every interceptor, recorded and not. Beside another
library, `deploy/matrix_beside.py` is run. The ranges in `telemetry/pyproject.toml` are what passes.
"""


@dataclass(frozen=True)
class Cell:
    """One combination; without FastAPI where it is None. `beside` is another library and its release."""

    python: str
    fastapi: str | None
    starlette: str | None
    otel: tuple[str, str]
    prometheus: str
    beside: str | None = None

    def requirements(self) -> Iterator[str]:
        """Yield what is installed."""
        sdk, contrib = self.otel
        for name in ("api", "sdk"):
            yield f"opentelemetry-{name}=={sdk}"
        for name in ("exporter-prometheus", "instrumentation-asgi", "instrumentation-fastapi"):
            yield f"opentelemetry-{name}=={contrib}"
        yield f"prometheus-client=={self.prometheus}"
        yield "uvicorn"
        if self.beside:
            yield from (self.beside, "httpx==0.28.1")
        for name, release in (("fastapi", self.fastapi), ("starlette", self.starlette)):
            if release:
                yield f"{name}=={release}"

    def smoke(self) -> tuple[str, str]:
        """Return what is run, and its argument."""
        if self.beside:
            return str(BESIDE_SMOKE), self.beside.partition("==")[0]
        return str(SMOKE), "fastapi" if self.fastapi else "starlette"

    @property
    def row(self) -> str:
        """The same as the first cells of a table's row."""
        app = f"FastAPI {self.fastapi}" if self.fastapi else f"Starlette {self.starlette}"
        beside = f", beside {self.beside.replace('==', ' ')}" if self.beside else ""
        return f"| {self.python} | {app}{beside} | {self.otel[0]} / {self.otel[1]} | {self.prometheus} |"


def cells(python: str) -> list[Cell]:
    """Return the combinations: each range alone with the newest of the others, and its oldest all together."""
    newest, last = OPENTELEMETRY[-1], PROMETHEUS[-1]
    found = [Cell(python, release, None, newest, last) for release in FASTAPI]
    found += [Cell(python, FASTAPI[-1], None, otel, last) for otel in OPENTELEMETRY[:-1]]
    found += [Cell(python, FASTAPI[-1], None, newest, release) for release in PROMETHEUS[:-1]]
    found += [Cell(python, FASTAPI[0], None, OPENTELEMETRY[0], PROMETHEUS[0])]
    found += [Cell(python, FASTAPI[-1], None, newest, last, other) for other in BESIDE]
    found += [Cell(python, None, release, newest, last) for release in STARLETTE]
    return [*found, Cell(python, None, STARLETTE[0], OPENTELEMETRY[0], PROMETHEUS[0])]


def run(cell: Cell, wheel: Path) -> str:
    """Return `passes`, or what is wrong."""
    with tempfile.TemporaryDirectory() as home:
        python = f"{home}/bin/python"
        steps = (
            (*UV, "venv", "-q", "--python", cell.python, home),
            (
                *UV,
                "pip",
                "install",
                "-q",
                "--prerelease",
                "allow",
                "--python",
                python,
                str(wheel),
                *cell.requirements(),
            ),
            (python, *cell.smoke()),
        )
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, cwd=home, check=False)  # noqa: S603 - ours
            if done.returncode:
                return (done.stderr.strip().splitlines() or ["no word"])[-1].strip().replace("|", "/")
    return "passes"


def build(out: Path) -> Path:
    """Build the wheel."""
    argv = (*UV, "build", "-q", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(out))
    subprocess.run((*argv, str(ROOT / "telemetry")), check=True)  # noqa: S603 - ours
    return next(out.glob("*.whl"))


def main() -> int:
    """Run all cells, and print them; returns 1 if one does not pass."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--write", action="store_true", help="write docs/truemeter-matrix.md")
    asked.add_argument("--python", action="append", help="a version of Python; may be given several times")
    asked.add_argument("--jobs", type=int, default=2, help="cells at one time")
    options = asked.parse_args()
    versions = options.python or [".".join(platform.python_version_tuple()[:2])]
    todo = [cell for python in versions for cell in cells(python)]
    with tempfile.TemporaryDirectory() as out, ThreadPoolExecutor(options.jobs) as pool:
        wheel = build(Path(out))
        results = list(pool.map(lambda cell: run(cell, wheel), todo))
    head = "| Python | application | OpenTelemetry | prometheus-client | |\n|---|---|---|---|---|"
    table = "\n".join([head, *(f"{cell.row} {said} |" for cell, said in zip(todo, results, strict=True))])
    print(table)  # noqa: T201 - it is what is asked for
    if options.write:
        DOCUMENT.write_text(f"{HEAD}\n{table}\n")
    return int(any(said != "passes" for said in results))


if __name__ == "__main__":
    sys.exit(main())
