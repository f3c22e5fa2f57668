"""The service runs without the extra `crowd`; what needs it says so in one line."""

import sys
from pathlib import Path

import pytest

from tests.support import Program
from tests.support.cli import complaint
from tests.support.processes import run

WITHOUT = "import sys; sys.modules['aiohttp'] = None; from service.cli import main; sys.argv[0] = 'flash-sale'; main()"
"""Python takes a module that is None in `sys.modules` for one that is not installed."""
PRODUCTION = """
import sys
import service.cli.ledger, service.cli.main, service.cli.processes
import service.processes.api, service.processes.fleet, service.processes.worker
print(*sorted({name.split(".")[0] for name in sys.modules} & {"aiohttp", "yarl", "multidict", "rich"}))
print(*sorted(name for name in sys.modules if name.startswith(("service.crowd", "service.truth"))))
"""


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (["crowd", "--orders", "1"], {}),
        (["crowd", "--orders", "1", "--truth"], {}),
        (["run"], {"CROWD": "5", "PORT": "0"}),
        (["process", "crowd", "--url", "http://127.0.0.1:1", "--rate", "1"], {}),
    ],
)
def test_a_command_that_lacks_it_says_how_to_install_it(command: list[str], env: dict[str, str]) -> None:
    """Status 1, and nothing was started."""
    done = run([sys.executable, "-c", WITHOUT, *command], env=env)
    assert complaint(done, 1) == "the crowd is not installed: pip install 'flash-sale[crowd]'"


def test_everything_starts_without_it_where_nobody_asked_for_a_crowd(tmp_path: Path) -> None:
    env = {"PORT": "0", "DATA_DIR": str(tmp_path)}
    with Program.python("-c", WITHOUT, "run", env=env) as program:
        said = program.wait_for_output("Ctrl-C stops everything.", 30)
        assert "flash-sale: there is no crowd" in said
        assert "orders per second" not in said
        assert program.terminate() == 0


def test_what_production_runs_loads_none_of_it() -> None:
    done = run([sys.executable, "-c", PRODUCTION], check=True)
    assert done.stdout.split() == ["rich"] or done.stdout.split() == []  # typer has it for its own help
