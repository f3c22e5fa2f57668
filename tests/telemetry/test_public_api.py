"""The package's one door, and what importing it does not do."""

import json
import sys

import telemetry
from tests.support.processes import run


def test_public_names_are_these() -> None:
    """A change here is a change for every user."""
    expected = [
        "CounterSpec",
        "GaugeSpec",
        "HistogramSpec",
        "SettingsError",
        "Telemetry",
        "TelemetrySettings",
        "UpDownCounterSpec",
        "configure_logging",
        "consumer_context",
        "consumer_span",
        "current_traceparent",
        "inject",
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
