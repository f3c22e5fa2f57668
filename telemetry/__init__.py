"""OpenTelemetry for a FastAPI service: traces, metrics and logs that cost little and say what happened."""

from .logs.configuration import configure_logging
from .metrics.specs import CounterSpec, GaugeSpec, HistogramSpec, UpDownCounterSpec
from .runtime import Telemetry
from .settings import SettingsError, TelemetrySettings
from .traces.propagation import consumer_context, consumer_span, current_traceparent, inject, suppressed
from .traces.store_spans import store_span

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
