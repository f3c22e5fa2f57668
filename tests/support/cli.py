"""One command of `flash-sale`, run to its end as a program."""

import os
import subprocess
import sys
from collections.abc import Mapping

from tests.support.processes import run


def flash_sale(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command; `env` is added to the environment of the tests."""
    argv = [sys.executable, "-m", "service", *arguments]
    return run(argv, env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **(env or {})})


def complaint(done: subprocess.CompletedProcess[str], status: int = 2) -> str:
    """Return the one line with which a command ended, having checked that there is nothing else."""
    assert done.returncode == status, done
    assert done.stdout == "", done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("flash-sale: ")
    return line.removeprefix("flash-sale: ")
