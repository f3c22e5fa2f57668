"""Names that libraries keep to themselves: each is where it was, and one that moves stops only those who need it.

One of these that fails names the release that moved it: look there for what to use instead.
"""

import sys

import pytest
from fastapi import FastAPI
from fastapi.telemetry._api import _RequestTelemetry

from telemetry import _private
from tests.support.processes import run

MOVED = """
import sys
from telemetry import _private
gone = _private.PrivateName("nowhere.at_all", "anything", "fastapi", "0.1")
for name in sys.argv[2].split(","):
    _private.NAMES[name] = gone
from fastapi import FastAPI
from starlette.testclient import TestClient
from telemetry import Telemetry, TelemetrySettings, store_span
environ = {"TELEMETRY_INTERCEPTOR": sys.argv[1]}
if sys.argv[1] == "logs":
    environ = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://127.0.0.1:9"}
if sys.argv[1] == "worker":
    environ = {}
telemetry = Telemetry(TelemetrySettings.from_env(environ, service_name="s"))
if sys.argv[1] == "worker":  # it has no application to instrument
    raise SystemExit
app = FastAPI(telemetry=telemetry.fastapi_config())
app.add_api_route("/x", lambda: {})
telemetry.instrument(app)
assert TestClient(app).get("/x").status_code == 200
"""
ROUTES = "RequestTelemetry,get_route_path"
LOGS = "OTLPLogExporter,LoggerProvider,BatchLogRecordProcessor,SeverityNumber"


@pytest.mark.parametrize("name", sorted(_private.NAMES))
def test_a_name_is_where_it_was(name: str) -> None:
    """Otherwise its error names the library, its release here, and the last release that had it."""
    assert _private.NAMES[name].find() is not None


def test_the_list_is_complete() -> None:
    """What is offered for import is what is looked up."""
    assert sorted(_private.__all__) == sorted(_private.NAMES)
    with pytest.raises(AttributeError):
        _ = _private.something_else


def test_fastapi_keeps_its_settings_where_they_were() -> None:
    """The interceptor `native` looks there whether the application was built with its configuration."""
    assert FastAPI(telemetry={"tracing": False})._telemetry["tracing"] is False


def test_fastapi_keeps_a_request_s_template_where_it_was() -> None:
    """And what it was mounted under."""
    assert {"route", "_mount_prefix", "span", "span_method"} <= _RequestTelemetry.__dataclass_fields__.keys()


def test_a_name_that_moved_says_so_in_one_line() -> None:
    """The library, the release that is installed, the release that had it."""
    with pytest.raises(ImportError, match=r"^fastapi [\d.]+ has no fastapi\.gone, as fastapi 0\.1 had") as caught:
        _private.PrivateName("fastapi", "gone", "fastapi", "0.1").find()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("choice", "moved"), [("contrib", LOGS), ("native", LOGS), ("lean", LOGS), ("worker", f"{ROUTES},{LOGS}")]
)
def test_a_name_that_moved_stops_nobody_who_did_not_choose_it(choice: str, moved: str) -> None:
    """Each choice loads its own."""
    argv = [sys.executable, "-c", MOVED, choice, moved]
    done = run(argv)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("choice", "moved"), [("native", ROUTES), ("lean", ROUTES), ("logs", LOGS)])
def test_a_name_that_moved_stops_who_chose_it(choice: str, moved: str) -> None:
    """At once, and it is named."""
    argv = [sys.executable, "-c", MOVED, choice, moved]
    done = run(argv)
    assert done.returncode != 0
    assert "ImportError: fastapi" in done.stderr.splitlines()[-1]
