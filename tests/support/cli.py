"""One command of `flash-sale`, run to its end as a program."""

import json
import os
import pwd
import socket
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


def admin_line(done: subprocess.CompletedProcess[str]) -> tuple[str, str, dict[str, str] | None]:
    """Return the act, its outcome and the results of its orders from the one line of log about an admin on stderr."""
    (line,) = [json.loads(line) for line in done.stderr.splitlines() if "service.cli.admin_log" in line]
    who = pwd.getpwuid(os.getuid()).pw_name
    assert (line["event"], line["level"], line["who"], line["client"]) == (
        "admin act",
        "info",
        who,
        socket.gethostname(),
    )
    return line["act"], line["outcome"], line.get("orders")
