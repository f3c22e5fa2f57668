"""OpenTelemetry for a FastAPI service: traces, metrics and logs that cost little and say what happened."""

from telemetry.instruments import CounterSpec, GaugeSpec, HistogramSpec, UpDownCounterSpec
from telemetry.logs import configure_logging
from telemetry.propagation import consumer_context, consumer_span, current_traceparent, inject, suppressed
from telemetry.runtime import Telemetry
from telemetry.settings import SettingsError, TelemetrySettings
from telemetry.spans import store_span

__all__ = [
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
