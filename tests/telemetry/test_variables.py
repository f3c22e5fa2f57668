"""OpenTelemetry's variables: what they do here, and that nothing is ignored in silence."""

import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from telemetry import SettingsError, Telemetry, TelemetrySettings
from telemetry.settings import INTERCEPTORS
from telemetry.testing import capture
from telemetry.variables import OBEYED, ignored
from tests.support.processes import run

DURATION = "http_server_request_duration_seconds"
README = (Path(__file__).parents[2] / "telemetry" / "README.md").read_text()
CONSOLE = """
import os
from telemetry import Telemetry, TelemetrySettings
with Telemetry(TelemetrySettings.from_env(os.environ, service_name="s")) as telemetry:
    with telemetry.tracer("t").start_as_current_span("on the console"):
        pass
"""


def from_env(**environ: str) -> TelemetrySettings:
    """Return what these variables say."""
    return TelemetrySettings.from_env(environ, service_name="shop")


@pytest.mark.parametrize("variable", ["OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS"])
@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_excluded_urls_are_patterns(interceptor: str, variable: str) -> None:
    """They are found anywhere in the URL, by every interceptor; the query and the client's `Host` do not count."""
    told = {variable: "health, /items/[0-9]+/probe$", "TELEMETRY_INTERCEPTOR": interceptor}
    settings = from_env(OTEL_TRACES_SAMPLER="always_on", **told)
    with capture(settings) as seen:
        app = FastAPI(telemetry=seen.telemetry.fastapi_config())
        for path in ("/health", "/a/healthz", "/items/7/probe", "/items/x/probe", "/items/7/probe/more", "/metrics"):
            app.add_api_route(path, lambda: None)
        seen.telemetry.instrument(app)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            for path in ("/health", "/a/healthz", "/items/7/probe", "/metrics"):
                assert (await client.get(path)).status_code == 200
            assert seen.value(f"{DURATION}_count") is None
            await client.get("/items/x/probe?health=1")
            await client.get("/items/7/probe/more", headers={"host": "health"})
        assert sorted(span.name for span in seen.spans()) == ["GET /items/7/probe/more", "GET /items/x/probe"]
        assert seen.value(f"{DURATION}_count") == 2


def test_those_for_fastapi_go_before_those_for_all() -> None:
    """As contrib reads them."""
    both = from_env(OTEL_PYTHON_FASTAPI_EXCLUDED_URLS="a", OTEL_PYTHON_EXCLUDED_URLS="b")
    assert both.excluded_urls == ("a",)


def test_a_pattern_that_is_none_is_refused() -> None:
    """With one line that names the variable."""
    with pytest.raises(SettingsError, match=r"^OTEL_PYTHON_EXCLUDED_URLS: '\[' is not a regular expression"):
        from_env(OTEL_PYTHON_EXCLUDED_URLS="a,[")


@pytest.mark.parametrize(
    ("said", "otlp", "console"),
    [("otlp", True, False), ("console", False, True), ("otlp,console", True, True), ("none", False, False)],
)
def test_spans_go_where_the_exporters_say(said: str, *, otlp: bool, console: bool) -> None:
    """One of them, both or none."""
    settings = from_env(OTEL_TRACES_EXPORTER=said, OTEL_EXPORTER_OTLP_ENDPOINT="http://collector")
    assert (settings.otlp is not None, settings.console_spans) == (otlp, console)


def test_metrics_are_written_to_the_console() -> None:
    """At their interval, and at the end; log lines are on their stream anyway."""
    told = {"OTEL_METRICS_EXPORTER": "prometheus,console", "OTEL_LOGS_EXPORTER": "console"}
    assert from_env(**told).otlp_metrics is None
    assert from_env(**told, OTEL_METRIC_EXPORT_INTERVAL="500").console_metrics_seconds == 0.5
    assert from_env().console_metrics_seconds == 0
    script = CONSOLE.replace("pass", "telemetry.meter_provider.get_meter('m').create_counter('shop.sold').add(7)")
    said = run([sys.executable, "-c", script], env={**os.environ, **told}, check=True).stdout
    assert '"name": "shop.sold"' in said
    assert '"value": 7' in said


@pytest.mark.parametrize("signal", ["TRACES", "LOGS", "METRICS"])
def test_who_asks_for_otlp_by_name_has_the_specified_endpoint(signal: str) -> None:
    """Unless one is given, for all or for the signal; who asks for nothing sends nothing anywhere."""

    def endpoint(**environ: str) -> str | None:
        told = from_env(**environ)
        found = {"TRACES": told.otlp, "LOGS": told.otlp_logs, "METRICS": told.otlp_metrics}[signal]
        return getattr(found, f"{signal.lower()}_endpoint", None)

    path = f"/v1/{signal.lower()}"
    asked = {f"OTEL_{signal}_EXPORTER": "console,otlp"}
    assert endpoint() is None
    assert endpoint(**{f"OTEL_{signal}_EXPORTER": "console"}) is None
    assert endpoint(**asked) == f"http://localhost:4318{path}"
    assert endpoint(**asked, OTEL_EXPORTER_OTLP_ENDPOINT="http://c/") == f"http://c{path}"
    assert endpoint(**asked, **{f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT": "http://c/x"}) == "http://c/x"


@pytest.mark.parametrize(
    "program", ["import telemetry; telemetry.Telemetry('shop')", "from telemetry import inject", CONSOLE]
)
@pytest.mark.parametrize(("name", "value"), [("OTEL_PROPAGATORS", "b3"), ("OTEL_PROPAGATORS", "tracecontext,b3multi")])
def test_what_opentelemetry_cannot_be_imported_with_is_told_by_its_variable(
    program: str, name: str, value: str
) -> None:
    """Not by a traceback out of the midst of it."""
    done = run([sys.executable, "-c", program], env={**os.environ, name: value})
    assert done.returncode == 1
    assert re.match(rf"telemetry\.environment\.SettingsError: {name}: 'b3\w*' is not ins", done.stderr.splitlines()[-1])
    assert "opentelemetry/propagate" not in done.stderr


def test_an_exporter_that_is_not_known_is_refused() -> None:
    """With one line that names the variable."""
    with pytest.raises(SettingsError, match=r"^OTEL_TRACES_EXPORTER: 'zipkin' is not one of otlp, console, none"):
        from_env(OTEL_TRACES_EXPORTER="otlp,zipkin")


def test_spans_are_written_to_the_console() -> None:
    """Without a collector, they are recorded all the same."""
    done = run([sys.executable, "-c", CONSOLE], env={"OTEL_TRACES_EXPORTER": "console"}, check=True)
    assert json.loads(done.stdout)["name"] == "on the console"


def test_a_variable_without_an_effect_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line at start that names them all, a misspelt one among them; nothing is told where all have one."""
    said = {
        "OTEL_METRICS_EXEMPLAR_FILTER": "always_on",
        "OTEL_SERVICENAME": "x",
        "OTEL_LOG_LEVEL": "/a",
        "OTEL_SERVICE_NAME": "y",
    }
    with caplog.at_level(logging.WARNING, "telemetry.runtime"):
        with Telemetry(from_env(**said), set_global=False) as telemetry:
            telemetry.start()
        with Telemetry(from_env(OTEL_SERVICE_NAME="y"), set_global=False):
            pass
    lines = [record.getMessage() for record in caplog.records if record.name == "telemetry.runtime"]
    assert lines == ["variables without an effect here: OTEL_LOG_LEVEL, OTEL_METRICS_EXEMPLAR_FILTER, OTEL_SERVICENAME"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("TELEMETRY_TRACE_PER_SECOND", " (did you mean TELEMETRY_TRACES_PER_SECOND?)"),
        ("TELEMETRY_INTERCEPTER", " (did you mean TELEMETRY_INTERCEPTOR?)"),
        ("TELEMTRY_SOCKET_DIR", " (did you mean TELEMETRY_SOCKET_DIR?)"),
        ("TELEMETRY_XYZZY", ""),
    ],
)
def test_a_misspelt_variable_of_ours_is_told(typed: str, meant: str, caplog: pytest.LogCaptureFixture) -> None:
    """With the one that it is like."""
    with caplog.at_level(logging.WARNING, "telemetry.runtime"), Telemetry(from_env(**{typed: "5"}), set_global=False):
        pass
    lines = [record.getMessage() for record in caplog.records if record.name == "telemetry.runtime"]
    assert lines == [f"variables without an effect here: {typed}{meant}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/a"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3"),
        ("OTEL_LOG_LEVEL", ""),
        ("PATH", "/bin"),
        ("TELEMETRY_SLOW_SECONDS", "2"),
        ("TELEMETRY_INTERCEPTER", ""),
    ],
)
def test_a_variable_with_an_effect_is_not_told(name: str, value: str) -> None:
    """Nor one that says what is so anyway, or nothing."""
    assert ignored({name: value}) == ()


def test_every_variable_that_is_read_has_an_effect() -> None:
    """Whatever the settings look for is in the list."""

    class Environment(dict[str, str]):
        asked: set[str] = set()  # noqa: RUF012 - one test, one set

        def get(self, name: str, default: Any = "") -> Any:
            self.asked.add(name)
            return {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}.get(name, default)

    TelemetrySettings.from_env(Environment(), service_name="shop")
    assert ignored(dict.fromkeys(Environment.asked, "x")) == ()


def test_the_readme_lists_those_with_an_effect() -> None:
    """By name; a star stands for any text."""
    table = README[README.index("## OpenTelemetry's variables") :]
    for pattern in OBEYED:
        short = re.sub(r"^OTEL_EXPORTER_OTLP_((TRACES|LOGS)_)?", "", pattern)
        assert f"`{pattern}`" in README or f"`…_{short}`" in README or f"OTLP_{short}`" in README, pattern
    assert "OTEL_LOG_LEVEL" in table
