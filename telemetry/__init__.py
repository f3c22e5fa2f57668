"""OpenTelemetry for a FastAPI service: traces, metrics and logs that cost little and say what happened."""

from telemetry.logs.configuration import configure_logging
from telemetry.metrics.specs import CounterSpec, GaugeSpec, HistogramSpec, UpDownCounterSpec
from telemetry.runtime import Telemetry
from telemetry.settings import SettingsError, TelemetrySettings
from telemetry.traces.propagation import consumer_context, consumer_span, current_traceparent, inject, suppressed
from telemetry.traces.store_spans import store_span

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
