"""Variables of OpenTelemetry's and our own: which have an effect here, and which are set without one.

`telemetry.settings` reads some, and OpenTelemetry's own libraries read others wherever they are used. Whoever sets one
that nobody reads, or that is written wrongly, is told once.
"""

import fnmatch
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

OWN = (
    *("TELEMETRY_INTERCEPTOR", "TELEMETRY_TRACES_PER_SECOND", "TELEMETRY_SLOW_SECONDS"),
    *("TELEMETRY_AFTERWARDS_PER_SECOND", "TELEMETRY_TRUST_CLIENT_SAMPLING", "TELEMETRY_SOCKET_DIR"),
)
"""Those that only this package has."""
_NEARLY = 0.88
"""How alike two names are of which one is taken for a slip of the other: one letter in eight."""

OBEYED = (
    # telemetry.settings
    *("OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_PROPAGATORS"),
    *("OTEL_TRACES_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_METRIC_EXPORT_INTERVAL"),
    *("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"),
    *("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_SCHEDULE_DELAY"),
    *("OTEL_BLRP_MAX_QUEUE_SIZE", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "OTEL_BLRP_SCHEDULE_DELAY"),
    *(
        f"OTEL_EXPORTER_OTLP_{signal}{option}"
        for signal in ("", "TRACES_", "LOGS_", "METRICS_")
        for option in ("ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "PROTOCOL")
    ),
    *("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS"),
    *("OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT"),
    # the exporters
    *("OTEL_EXPORTER_OTLP_*CERTIFICATE", "OTEL_EXPORTER_OTLP_*CLIENT_KEY", "OTEL_PYTHON_EXPORTER_OTLP_*"),
    # the SDK
    *(
        "OTEL_ATTRIBUTE_*_LIMIT",
        "OTEL_SPAN_*_LIMIT",
        "OTEL_EVENT_*_LIMIT",
        "OTEL_LINK_*_LIMIT",
        "OTEL_LOGRECORD_*_LIMIT",
    ),
    *("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "OTEL_PYTHON_CONTEXT"),
    # the instrumentations
    *("OTEL_SEMCONV_STABILITY_OPT_IN", "OTEL_INSTRUMENTATION_HTTP_*", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"),
    *("OTEL_PYTHON_*_EXCLUDED_URLS", "OTEL_PYTHON_INSTRUMENTATION_*"),
    "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED",  # opentelemetry-instrument
)
"""Those with an effect; a star is for any text."""


def ignored(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables that are set and have no effect: OpenTelemetry's by their first letters, and ours.

    One is taken for ours that begins as they do, or is nearly one of them.
    """
    return tuple(sorted(name for name, value in environ.items() if value.strip() and _has_no_effect(name)))


def _has_no_effect(name: str) -> bool:
    if name.startswith("OTEL_"):
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in OBEYED)
    return name not in OWN and (name.startswith("TELEMETRY_") or bool(get_close_matches(name, OWN, 1, _NEARLY)))


def described(names: Iterable[str]) -> str:
    """Return a list of such variables for the log; with the one of ours that was meant, where one is like it."""
    meant = {name: get_close_matches(name, OWN, 1) for name in names}
    return ", ".join(f"{name} (did you mean {like[0]}?)" if like else name for name, like in meant.items())
