"""Every ``OTEL_*`` variable that OpenTelemetry specifies or its libraries for Python read, and what each may hold.

The libraries read some of them by themselves, a few when they are imported: what they cannot use raises there, in the
midst of a start or of a request, or is written to the log with its secrets. So all of them are looked at first. An
empty value counts as unset. Words of an enumeration may be written in any case of letters.
"""

import os
import re
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from importlib.metadata import entry_points
from typing import Any

from . import environment as parsing

Check = Callable[[str], Any]

MAX_LIMIT = 2**31 - 1
_SIGNALS = ("", "TRACES_", "METRICS_", "LOGS_")
_SANITIZED = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS"
_CAPTURED = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"
SECRET_HEADERS = (
    *(".*authorization.*", ".*cookie.*", ".*token.*", ".*secret.*", ".*api-?key.*", ".*ticket.*"),
    "sec-websocket-protocol",  # where a browser, which cannot send `Authorization`, puts a token
)
_LOWERED = ("OTEL_PROPAGATORS", "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "OTEL_METRICS_EXEMPLAR_FILTER")
"""Those whose libraries know them in lower case only."""


def prepare(environ: MutableMapping[str, str]) -> None:
    """Look at the environment of this process before OpenTelemetry is imported, and write it as its libraries need it.

    Raises:
        ValueError: a variable holds a value that cannot be used; one line that begins with its name.
    """
    check(environ)
    for name in CHECKS.keys() & environ.keys():
        text = environ.pop(name).strip()
        if text:
            environ[name] = text.lower() if name in _LOWERED else text
    if any(environ.get(f"{_CAPTURED}{side}_{way}") for side in ("SERVER", "CLIENT") for way in ("REQUEST", "RESPONSE")):
        given = [part.strip() for part in environ.get(_SANITIZED, "").split(",") if part.strip()]
        environ[_SANITIZED] = ",".join(dict.fromkeys([*given, *SECRET_HEADERS]))


def check(environ: Mapping[str, str]) -> None:
    """Look at every variable that is set.

    Raises:
        ValueError: as `prepare`.
    """
    for name, text in environ.items():
        usable = CHECKS.get(name)
        if usable is None or not text.strip():
            continue
        try:
            usable(text.strip())
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def _installed(group: str, text: str, *, also: tuple[str, ...] = ()) -> None:
    """Return the names of parts that are installed, as their packages announce them."""
    known = sorted({entry.name for entry in entry_points(group=group)} | set(also))
    for word in filter(None, (part.strip().lower() for part in text.split(","))):
        if word not in known:
            raise ValueError(f"{word[:64]!r} is not installed; there is {', '.join(known) or 'none'}")


def _file(text: str) -> None:
    if not os.path.isfile(text) or not os.access(text, os.R_OK):  # noqa: PTH113 - `Path` raises for odd names
        raise ValueError("no such file, or it cannot be read")


def _words(*known: str) -> Check:
    """Check a list of words, separated by commas."""

    def usable(text: str) -> None:
        for word in text.split(","):
            parsing.one_of(*known)(word.strip())

    return usable


def _patterns(text: str) -> None:
    for pattern in filter(None, (part.strip() for part in text.split(","))):
        try:
            re.compile(pattern)
        except (re.error, RecursionError):
            raise ValueError(f"{pattern[:64]!r} is not a regular expression") from None


def _refused(why: str) -> Check:
    def usable(_: str) -> None:
        raise ValueError(why)

    return usable


_limit = parsing.whole_number(0, MAX_LIMIT)
_millis = parsing.whole_number(0, 86_400_000)
_seconds = parsing.number(0.001, 3600)
_own = _refused("cannot be chosen: this program makes its own")


def _batches(prefix: str) -> dict[str, Check]:
    return {f"{prefix}_EXPORT_TIMEOUT": _millis}


def _limits() -> dict[str, Check]:
    names = ("ATTRIBUTE_COUNT", "ATTRIBUTE_VALUE_LENGTH")
    every = [f"OTEL_{of}{name}_LIMIT" for of in ("", "SPAN_", "LOGRECORD_") for name in names]
    every += [f"OTEL_{name}_LIMIT" for name in ("SPAN_EVENT_COUNT", "SPAN_LINK_COUNT")]
    every += [f"OTEL_{of}_ATTRIBUTE_COUNT_LIMIT" for of in ("EVENT", "LINK")]
    return dict.fromkeys(every, _limit)


def _otlp(signal: str) -> dict[str, Check]:
    prefix = f"OTEL_EXPORTER_OTLP_{signal}"
    provider = f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{signal}CREDENTIAL_PROVIDER"
    return {
        f"{prefix}ENDPOINT": parsing.http_url,
        f"{prefix}HEADERS": parsing.headers,
        f"{prefix}TIMEOUT": _seconds,
        f"{prefix}COMPRESSION": parsing.one_of("none", "gzip", "deflate"),
        f"{prefix}PROTOCOL": parsing.one_of("http/protobuf"),
        f"{prefix}INSECURE": parsing.boolean,
        f"{prefix}CERTIFICATE": _file,
        f"{prefix}CLIENT_KEY": _file,
        f"{prefix}CLIENT_CERTIFICATE": _file,
        provider: partial(_installed, "opentelemetry_otlp_credential_provider"),
    }


CHECKS: Mapping[str, Check] = {
    "OTEL_PROPAGATORS": partial(_installed, "opentelemetry_propagator", also=("none",)),
    "OTEL_SDK_DISABLED": parsing.boolean,
    "OTEL_RESOURCE_ATTRIBUTES": parsing.resource_attributes,
    "OTEL_TRACES_SAMPLER_ARG": parsing.number(0, 1),
    "OTEL_TRACES_EXPORTER": _words("otlp", "console", "none"),
    "OTEL_LOGS_EXPORTER": _words("otlp", "console", "none"),
    "OTEL_METRICS_EXPORTER": _words("prometheus", "otlp", "console", "none"),
    "OTEL_METRICS_EXEMPLAR_FILTER": parsing.one_of("always_on", "always_off", "trace_based"),
    "OTEL_METRIC_EXPORT_INTERVAL": _millis,
    "OTEL_METRIC_EXPORT_TIMEOUT": _millis,
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": parsing.one_of("cumulative", "delta", "lowmemory"),
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": parsing.one_of(
        "explicit_bucket_histogram", "base2_exponential_bucket_histogram"
    ),
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": partial(_installed, "opentelemetry_resource_detector", also=("*",)),
    "OTEL_CONFIG_FILE": _refused("a configuration file is not read; use the other variables"),
    "OTEL_EXPERIMENTAL_CONFIG_FILE": _refused("a configuration file is not read; use the other variables"),
    "OTEL_PYTHON_CONTEXT": partial(_installed, "opentelemetry_context"),
    "OTEL_PYTHON_TRACER_PROVIDER": _own,
    "OTEL_PYTHON_METER_PROVIDER": _own,
    "OTEL_PYTHON_LOGGER_PROVIDER": _own,
    "OTEL_PYTHON_EXCLUDED_URLS": _patterns,
    "OTEL_PYTHON_HTTPX_EXCLUDED_URLS": _patterns,
    "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": _patterns,
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": _patterns,
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": _patterns,
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST": _patterns,
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE": _patterns,
    _SANITIZED: _patterns,
    **_limits(),
    **_batches("OTEL_BSP"),
    **_batches("OTEL_BLRP"),
    **{name: usable for signal in _SIGNALS for name, usable in _otlp(signal).items()},
}
"""What is looked at here; what `telemetry.settings` reads besides is looked at there."""
