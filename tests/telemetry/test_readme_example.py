"""The library's README is true: its examples are run as they stand."""

import re
import sys
from pathlib import Path

import telemetry
from telemetry import TelemetrySettings
from tests.support import Program, eventually
from tests.support.http import http_get
from tests.support.service import START_SECONDS
from tests.telemetry.collector import Collector

ROOT = Path(__file__).parents[2]
README = (ROOT / "telemetry" / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHOP, MEASURE, TEST, ATTACH = (
    example.replace("truemeter", "telemetry") for example in EXAMPLES
)  # its name in this repository


def test_one_call_makes_a_service_with_telemetry(tmp_path: Path) -> None:
    """Series at `/metrics`, a span and the server's log lines at the collector, nothing lost at SIGTERM."""
    assert SHOP.endswith('Telemetry("shop").install(app)\n')
    (tmp_path / "shop.py").write_text(SHOP)
    with Collector() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "uvicorn", "shop:app", "--port", "0"]
        with Program(command, env=env, cwd=tmp_path) as program:
            url = re.findall(r"http://\S+:\d+", program.wait_for_line("Uvicorn running", START_SECONDS))[0]
            assert http_get(f"{url}/items/lamp").json() == {"item": "lamp"}
            text = http_get(f"{url}/metrics").text
            program.terminate()
        assert 'http_server_request_duration_seconds_count{http_request_method="GET"' in text
        eventually(lambda: [span.name for span in collector.spans()] == ["GET /items/{item}"], 5, "the span is there")
        said = [record.body.string_value for _, record in collector.logs()]
        assert any("/items/lamp" in body for body in said)
        assert said[-1].startswith("Finished server process")


def test_the_other_examples_run() -> None:
    """What is declared is measured, and the test is a test."""
    names: dict[str, object] = {}
    exec(MEASURE + TEST, names)  # noqa: S102 - the README's own code
    names["test_a_refund_is_counted"]()  # type: ignore[operator]


def test_the_table_of_names_is_complete() -> None:
    """Each public name has a place in it, and no other has."""
    rows = re.search(r"## Public names\n(.*?)\n\n`", README, re.DOTALL)
    assert rows
    first_cells = " ".join(row.split("|")[1] for row in rows.group(1).splitlines() if row.startswith("| `"))
    assert sorted(re.findall(r"`(\w+)`", first_cells)) == sorted(telemetry.__all__)


def test_the_defaults_in_the_table_are_those_of_the_code() -> None:
    """Numbers and words."""
    settings = TelemetrySettings(service_name="shop")
    for variable, value in {
        "TELEMETRY_TRACES_PER_SECOND": settings.traces_per_second,
        "TELEMETRY_SLOW_SECONDS": settings.slow_seconds,
        "TELEMETRY_AFTERWARDS_PER_SECOND": settings.afterwards_per_second,
    }.items():
        assert f"| `{variable}` | {value:g} |" in README
    assert f"| `TELEMETRY_INTERCEPTOR` | `{settings.interceptor}` |" in README


def test_every_variable_that_is_read_is_in_the_table() -> None:
    """Whatever the settings look for."""

    class Environment(dict[str, str]):
        asked: set[str] = set()  # noqa: RUF012 - one test, one set

        def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
            self.asked.add(name)
            return {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}.get(name, default)

    TelemetrySettings.from_env(Environment(), service_name="shop")
    for variable in Environment.asked:
        short = re.sub(r"^OTEL_EXPORTER_OTLP_((TRACES|LOGS)_)?", "", variable)
        assert f"`{variable}`" in README or f"`…_{short}`" in README or f"OTLP_{short}`" in README, variable
