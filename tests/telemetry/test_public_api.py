"""The package's one door, and what importing it does not do."""

import importlib
import json
import os
import pkgutil
import sys

import pytest

import telemetry
from tests.support.processes import run


def test_public_names_are_these() -> None:
    """A change here is a change for every user."""
    expected = [
        "CounterSpec",
        "GaugeSpec",
        "HistogramSpec",
        "RequestLabel",
        "SettingsError",
        "Telemetry",
        "TelemetrySettings",
        "UpDownCounterSpec",
        "child_span",
        "configure_logging",
        "consumer_context",
        "consumer_span",
        "current_traceparent",
        "from_header",
        "from_state",
        "inject",
        "is_sampled",
        "prepare_environment",
        "store_span",
        "suppressed",
    ]
    assert expected == telemetry.__all__
    assert all(hasattr(telemetry, name) for name in expected)


def test_import_starts_nothing_and_knows_no_service() -> None:
    """No thread, no handler, no global provider, no variable, and nothing of `service`."""
    program = """
import os, threading, json, sys, logging
before = dict(os.environ)
import telemetry, telemetry.testing
from opentelemetry import trace
print(json.dumps({
    "threads": threading.active_count(),
    "environment": dict(os.environ) == before,
    "service": "service" in sys.modules,
    "provider": type(trace._TRACER_PROVIDER).__name__,
    "handlers": len(logging.getLogger().handlers),
}))
"""
    done = run([sys.executable, "-c", program], check=True)
    assert json.loads(done.stdout) == {
        "threads": 1,
        "environment": True,
        "service": False,
        "provider": "NoneType",
        "handlers": 0,
    }


LOADED = """
import json, sys
before = set(sys.modules)
{statement}
print(json.dumps([len(set(sys.modules) - before), sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""
WEB = {"fastapi", "starlette", "uvicorn", "prometheus_client", "httpx"}


@pytest.mark.parametrize(
    ("statement", "limit"),
    [
        ("from telemetry import store_span, suppressed, consumer_span, inject", 250),
        ("from telemetry import CounterSpec, GaugeSpec, TelemetrySettings", 120),
        ("import telemetry.windows", 220),
        ("import service.store", 450),
    ],
)
def test_a_name_brings_only_what_it_needs(statement: str, limit: int) -> None:
    """No web framework and no exporter for a span around a call; `import service.store` took 891 modules once."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}  # it would be counted
    done = run([sys.executable, "-c", LOADED.format(statement=statement)], env=env, check=True)
    count, packages = json.loads(done.stdout)
    assert WEB.isdisjoint(packages)
    assert count <= limit


def test_every_package_says_what_it_is() -> None:
    """In the docstring of its door; and what a door offers is there."""
    for package in pkgutil.walk_packages(telemetry.__path__, "telemetry."):
        module = importlib.import_module(package.name)
        assert module.__doc__, package.name
        assert all(hasattr(module, name) for name in getattr(module, "__all__", ())), package.name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """As of every module; and `dir` shows what is loaded when it is asked for."""
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = telemetry.nothing_such
    assert set(telemetry.__all__) <= set(dir(telemetry))
