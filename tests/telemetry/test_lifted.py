"""The folder works under any name, in any place: it is copied, renamed, and used as the README says."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from telemetry.settings import INTERCEPTORS
from tests.support import Program, RedisServer, eventually
from tests.support.http import http_get
from tests.support.processes import run
from tests.support.service import START_SECONDS
from tests.telemetry.collector import Collector
from tests.telemetry.test_readme_example import ROOT, SHOP

NAME = "watching"
NO_ORIGINAL = 'import sys\nsys.modules["telemetry"] = None\n'  # whoever imports the folder under its old name fails
WINDOWS = """
import asyncio, sys
from datetime import timedelta
from redis.asyncio import Redis
from vendor.watching.windows import RequestWindows

async def main():
    async with Redis.from_url(sys.argv[1]) as client:
        windows = RequestWindows(client, "{lifted}:", worker="w")
        windows.record("GET", "/items/{item}", 200, 0.25)
        await windows.flush()
        stats = await windows.read(timedelta(seconds=60))
        await windows.clear()
        print([(series.route, histogram.count) for series, histogram in stats.series.items()])

asyncio.run(main())
"""
LATE = """
import importlib
from vendor.watching.settings import TelemetrySettings

settings = TelemetrySettings.from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, service_name="s")
for name in settings.modules:
    importlib.import_module(name)
print(*settings.modules)
"""


@pytest.fixture
def lifted(tmp_path: Path) -> Path:
    """A folder `vendor` with the library in it, under another name."""
    vendor = tmp_path / "vendor"
    shutil.copytree(ROOT / "telemetry", vendor / NAME, ignore=shutil.ignore_patterns("__pycache__"))
    (vendor / "__init__.py").touch()
    return tmp_path


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
def test_the_one_call_works_inside_another_package(lifted: Path, interceptor: str) -> None:
    """Series, a span and log lines, and nothing is imported by the name that the folder has here."""
    shop = SHOP.replace("from telemetry import", f"from vendor.{NAME} import")
    (lifted / "shop.py").write_text(NO_ORIGINAL + shop)
    with Collector() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "TELEMETRY_INTERCEPTOR": interceptor}
        command = [sys.executable, "-m", "uvicorn", "shop:app", "--port", "0"]
        with Program(command, env=env, cwd=lifted) as program:
            url = re.findall(r"http://\S+:\d+", program.wait_for_line("Uvicorn running", START_SECONDS))[0]
            assert http_get(f"{url}/items/lamp").json() == {"item": "lamp"}
            text = http_get(f"{url}/metrics").text
            program.terminate()
        assert 'http_server_request_duration_seconds_count{http_request_method="GET"' in text
        eventually(lambda: [span.name for span in collector.spans()] == ["GET /items/{item}"], 5, "the span is there")
        assert collector.logs()


def test_the_windows_find_their_scripts(lifted: Path, valkey_server: RedisServer) -> None:
    """They are files of the package, whatever it is called."""
    argv = [sys.executable, "-c", NO_ORIGINAL + WINDOWS, valkey_server.url]
    done = run(argv, cwd=lifted)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[('/items/{item}', 1)]"


def test_what_is_imported_late_has_the_name_of_the_folder(lifted: Path) -> None:
    """A process that forks others imports it before, by name."""
    done = run([sys.executable, "-c", NO_ORIGINAL + LATE], cwd=lifted)
    assert done.returncode == 0, done.stderr
    assert f"vendor.{NAME}.logs.otlp" in done.stdout.split()
