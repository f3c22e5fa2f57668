"""Which semantic conventions OpenTelemetry's instrumentations follow in this process.

They name what they measure after ``OTEL_SEMCONV_STABILITY_OPT_IN``, which they read once per process; under the old
default, the client's Host header becomes a metric label.
"""

import os

from .._private import SemanticConventionStability, StabilityMode, StabilitySignalType

OTEL_SEMCONV_STABILITY_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"


def use_stable_conventions() -> None:
    """Put the stable HTTP and database conventions in force for this process's instrumentations."""
    state = SemanticConventionStability
    asked = (part.strip() for part in os.environ.get(OTEL_SEMCONV_STABILITY_OPT_IN, "").split(","))
    others = [part for part in asked if part and part.split("/")[0] not in ("http", "database")]
    os.environ[OTEL_SEMCONV_STABILITY_OPT_IN] = ",".join(["http", "database", *others])
    if not _http_is_stable():
        # Another library came first and fixed the old default; what it made already stays as it is.
        state._initialized = False  # noqa: SLF001 - there is no public way to change it
        _http_is_stable()


def _http_is_stable() -> bool:
    state = SemanticConventionStability
    state._initialize()  # type: ignore[no-untyped-call]  # noqa: SLF001 - there is no public way to ask
    http = StabilitySignalType.HTTP
    mode = state._get_opentelemetry_stability_opt_in_mode(http)  # noqa: SLF001 - as above
    return mode is StabilityMode.HTTP
