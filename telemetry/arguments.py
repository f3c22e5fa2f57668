"""What a service gives in code is looked at when it is given: one line names the argument, as for a variable."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .settings import TelemetrySettings

_ONE: Mapping[str, tuple[str, str]] = {
    "tracer_provider": ("a tracer provider", "get_tracer"),
    "meter_provider": ("a meter provider", "get_meter"),
    "sampler": ("a sampler", "should_sample"),
    **{f"{side}_hook": ("a function", "__call__") for side in ("server_request", "client_request", "client_response")},
    "labels": ("a mapping of names to values", "items"),
}
_SEVERAL: Mapping[str, tuple[str, str]] = {
    "span_processors": ("span processors", "on_end"),
    "metric_readers": ("metric readers", "collect"),
    "registries": ("registries of prometheus_client", "collect"),
    "views": ("views of opentelemetry.sdk.metrics.view", "__class__"),
    "buckets": ("numbers", "__float__"),
    "exclude": ("patterns", "join"),
}


def check(settings: object, given: Mapping[str, Any]) -> None:
    """Look at all of them.

    Raises:
        TypeError: one is none of what is taken.
        ValueError: a name is empty, or a pattern is none.
    """
    if not isinstance(settings, str | TelemetrySettings):
        raise TypeError(f"Telemetry takes the service's name, or TelemetrySettings, not {settings!r}")
    if isinstance(settings, str) and not settings.strip():
        raise ValueError("Telemetry takes the service's name, which is empty")
    for name, (what, has) in _ONE.items():
        value = given.get(name)
        if value is not None and not hasattr(value, has):
            raise TypeError(f"{name} takes {what}, not {value!r}")
    for name, (what, has) in _SEVERAL.items():
        _check_several(name, given.get(name, ()), what, has)
    for pattern in given.get("exclude", ()):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"exclude: {pattern!r} is not a regular expression: {error}") from None


def _check_several(name: str, values: object, what: str, has: str) -> None:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} takes several {what}: [{values!r}]")
    for value in values:
        if not hasattr(value, has) or isinstance(value, type):
            raise TypeError(f"{name} takes {what}, and {value!r} is none")
