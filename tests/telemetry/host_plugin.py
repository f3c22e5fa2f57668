"""A plugin of pytest for the tests of other people's applications: it installs the telemetry, and changes nothing else.

`PYTHONPATH=.:$REPO:$REPO/tests/telemetry HOST_APP=app.main:app python -m pytest -p host_plugin` in their environment,
to which the library's dependencies were added; `REPO` is this repository, `HOST_APP=package:create_app()` is for a
function that makes applications. At the end it says what was measured.
"""

import functools
import os
from importlib import import_module
from typing import Any

import pytest

from telemetry import Telemetry

_installed: list[Telemetry] = []


def _install(app: Any) -> Any:
    telemetry = Telemetry("host")
    telemetry.install(app, metrics_path="/metrics-of-telemetry")
    _installed.append(telemetry)
    return app


def _prepare(target: str) -> None:
    """Install it before any test's `conftest.py` imports the application."""
    module, _, name = target.partition(":")
    host = import_module(module)
    made = getattr(host, name.removesuffix("()"))
    if not name.endswith("()"):
        _install(made)
        return
    wrapped = functools.wraps(made)(lambda *args, **options: _install(made(*args, **options)))
    setattr(host, name.removesuffix("()"), wrapped)


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Say how many requests were measured."""
    for telemetry in _installed:
        lines = [
            line.rsplit(" ", 1)
            for line in telemetry.exposition()[0].decode().splitlines()
            if line.startswith("http_server_request_duration_seconds_count{")
        ]
        requests = sum(float(value) for _, value in lines)
        terminalreporter.write_line(f"telemetry: {requests:.0f} requests in {len(lines)} series")


if "HOST_APP" in os.environ:
    _prepare(os.environ["HOST_APP"])
