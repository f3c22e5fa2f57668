"""OpenTelemetry for a FastAPI service: traces, metrics and logs that cost little and say what happened.

A name is loaded when it is first used (PEP 562), so that `store_span` or a spec does not bring FastAPI with it.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

from ._extras import needs

if TYPE_CHECKING:
    from .http.labels import RequestLabel, from_header, from_state
    from .logs.configuration import configure_logging
    from .metrics.specs import CounterSpec, GaugeSpec, HistogramSpec, UpDownCounterSpec
    from .runtime import Telemetry
    from .settings import SettingsError, TelemetrySettings, prepare_environment
    from .traces.propagation import (
        consumer_context,
        consumer_span,
        current_traceparent,
        inject,
        is_sampled,
        suppressed,
    )
    from .traces.store_spans import store_span
    from .traces.unrecorded import child_span

_HOMES = {
    "CounterSpec": ".metrics.specs",
    "GaugeSpec": ".metrics.specs",
    "HistogramSpec": ".metrics.specs",
    "RequestLabel": ".http.labels",
    "SettingsError": ".settings",
    "Telemetry": ".runtime",
    "TelemetrySettings": ".settings",
    "UpDownCounterSpec": ".metrics.specs",
    "child_span": ".traces.unrecorded",
    "configure_logging": ".logs.configuration",
    "consumer_context": ".traces.propagation",
    "consumer_span": ".traces.propagation",
    "current_traceparent": ".traces.propagation",
    "from_header": ".http.labels",
    "from_state": ".http.labels",
    "inject": ".traces.propagation",
    "is_sampled": ".traces.propagation",
    "prepare_environment": ".settings",
    "store_span": ".traces.store_spans",
    "suppressed": ".traces.propagation",
}

_EXTRAS = {".logs.configuration": "logs"}

__all__ = [
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


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        with needs(_EXTRAS.get(home, "all")):
            value: object = getattr(import_module(home, __name__), name)
    except Exception:
        _blame_a_variable()
        raise
    globals()[name] = value  # the next use finds it there
    return value


def _blame_a_variable() -> None:
    """Say which variable holds what OpenTelemetry cannot use, which reads some when it is imported.

    Raises:
        SettingsError: one does; the message is one line that begins with its name.
    """
    try:
        import_module(".otel_variables", __name__).check(os.environ)
    except ValueError as error:
        refused: type[Exception] = import_module(".environment", __name__).SettingsError
        raise refused(str(error)) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
