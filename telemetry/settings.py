"""What the environment says about telemetry, read once and frozen.

The ``OTEL_*`` names keep their standard meaning; an empty value counts as unset. A value that cannot be used
raises `SettingsError`, one line that starts with the variable's name. Nothing else in this package reads the
environment, apart from OpenTelemetry's own libraries.

``OTEL_EXPORTER_OTLP_TIMEOUT`` is in seconds, as in every OpenTelemetry exporter for Python;
``OTEL_BSP_SCHEDULE_DELAY`` and ``OTEL_BLRP_SCHEDULE_DELAY`` are in milliseconds.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict, TypeVar

from . import environment as parsing
from . import otel_variables
from .variables import ignored

Interceptor = Literal["contrib", "native", "lean"]
INTERCEPTORS: tuple[Interceptor, ...] = ("contrib", "native", "lean")
Compression = Literal["none", "gzip", "deflate"]
COMPRESSIONS: tuple[Compression, ...] = ("none", "gzip", "deflate")

SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)

_T = TypeVar("_T")
_EMPTY: dict[str, str] = {}


def prepare_environment(environ: MutableMapping[str, str]) -> None:
    """Look at the environment of a process before OpenTelemetry is imported, and write it as its libraries need it.

    A program that imports `Telemetry` only after this call is refused in one line where it would fail at the import.

    Raises:
        SettingsError: a variable holds a value that cannot be used.
    """
    try:
        otel_variables.prepare(environ)
    except ValueError as error:
        raise SettingsError(str(error)) from None


class SettingsError(ValueError):
    """A variable holds a value that cannot be used; the message is one line and names the variable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSettings:
    """Limits of the queue in front of an exporter: of spans (``OTEL_BSP_*``), or of log lines (``OTEL_BLRP_*``)."""

    max_queue_size: int = 2048
    max_export_batch_size: int = 512
    schedule_delay_millis: int = 5000


@dataclass(frozen=True, kw_only=True, slots=True)
class OtlpOptions:
    """How something is sent by OTLP over HTTP with protobuf bodies.

    Attributes:
        headers: sent with each export; may hold a credential, so it is not shown by ``repr``.
        timeout_seconds: for one export with its retries.
        compression: of the request body.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float = 10.0
    compression: Compression = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class OtlpSettings(OtlpOptions):
    """Where finished spans go; ``traces_endpoint`` is the whole URL, path included."""

    traces_endpoint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OtlpLogSettings(OtlpOptions):
    """Where log lines go besides their stream; ``logs_endpoint`` is the whole URL, path included."""

    logs_endpoint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetrySettings:
    """Everything `telemetry.Telemetry` needs to know.

    Attributes:
        service_name: ``service.name`` of the resource.
        service_version: ``service.version`` of the resource.
        worker: the slot of this process, such as ``api-0``; a label on each of its series. Slots are reused,
            so that a process that takes over a slot looks like a counter reset.
        resource_attributes: further attributes of the resource.
        sdk_disabled: no spans and no metrics at all.
        otlp: where spans go; None keeps none.
        otlp_logs: where log lines go besides their stream; None sends none.
        sampler: one of `SAMPLERS`, or None for the budget.
        sampler_arg: the ratio of the two ratio samplers, 0 to 1.
        traces_per_second: the budget of this process, in traces begun here.
        slow_seconds: from how long on a request leaves its span although its trace is not recorded.
        afterwards_per_second: how many spans a second are written afterwards, for requests that failed or were slow.
        trust_client_sampling: whether the sampled flag of a ``traceparent`` from the network is obeyed.
        keep_propagators: keep the global propagator that OpenTelemetry made from ``OTEL_PROPAGATORS``;
            otherwise it is set to trace context alone, so that a client's baggage goes no further.
        interceptor: what measures requests and makes their spans, see `telemetry.http.instrumentation`.
        socket_dir: a directory in which peer processes find each other, so that each answers ``/metrics`` for all.
        excluded_paths: request paths that get neither spans nor metrics.
        excluded_urls: regular expressions; a request whose URL has one of them gets neither, too.
        console_spans: whether spans are written to stdout as well, as JSON.
        ignored_variables: those of OpenTelemetry that are set and have no effect; `Telemetry.start` tells them.
        batch: limits of the span queue.
        log_batch: limits of the queue of log lines.
    """

    service_name: str
    service_version: str = ""
    worker: str = "main"
    resource_attributes: Mapping[str, str] = field(default_factory=dict)
    sdk_disabled: bool = False
    otlp: OtlpSettings | None = None
    otlp_logs: OtlpLogSettings | None = None
    sampler: str | None = None
    sampler_arg: float = 1.0
    traces_per_second: float = 100.0
    slow_seconds: float = 1.0
    afterwards_per_second: int = 100
    trust_client_sampling: bool = False
    keep_propagators: bool = False
    interceptor: Interceptor = "contrib"
    socket_dir: Path | None = None
    excluded_paths: tuple[str, ...] = ("/metrics", "/healthz", "/readyz")
    excluded_urls: tuple[str, ...] = ()
    console_spans: bool = False
    ignored_variables: tuple[str, ...] = ()
    batch: BatchSettings = field(default_factory=BatchSettings)
    log_batch: BatchSettings = field(default_factory=lambda: BatchSettings(schedule_delay_millis=1000))

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], *, service_name: str, service_version: str = "", worker: str = "main"
    ) -> "TelemetrySettings":
        """Read the settings; the service's own name counts where the environment gives none.

        Raises:
            SettingsError: a variable holds a value that cannot be used.
        """
        try:
            otel_variables.check(environ)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        env = _Environment(environ)
        resource = dict(env.read("OTEL_RESOURCE_ATTRIBUTES", parsing.resource_attributes, _EMPTY))
        return cls(
            service_name=env.text("OTEL_SERVICE_NAME") or resource.pop("service.name", service_name),
            service_version=resource.pop("service.version", service_version),
            worker=worker,
            resource_attributes=resource,
            sdk_disabled=env.read("OTEL_SDK_DISABLED", parsing.boolean, default=False),
            otlp=_otlp_traces(env),
            otlp_logs=_otlp_logs(env),
            sampler=env.read("OTEL_TRACES_SAMPLER", parsing.one_of(*SAMPLERS), None),
            sampler_arg=env.read("OTEL_TRACES_SAMPLER_ARG", parsing.number(0, 1), 1.0),
            traces_per_second=env.read("TELEMETRY_TRACES_PER_SECOND", parsing.number(0, 1_000_000), 100.0),
            slow_seconds=env.read("TELEMETRY_SLOW_SECONDS", parsing.number(0.001, 86_400), 1.0),
            afterwards_per_second=env.read("TELEMETRY_AFTERWARDS_PER_SECOND", parsing.whole_number(0, 1_000_000), 100),
            trust_client_sampling=env.read("TELEMETRY_TRUST_CLIENT_SAMPLING", parsing.boolean, default=False),
            keep_propagators=env.text("OTEL_PROPAGATORS") is not None,
            interceptor=env.read("TELEMETRY_INTERCEPTOR", _interceptor, INTERCEPTORS[0]),
            socket_dir=env.read("TELEMETRY_SOCKET_DIR", parsing.socket_directory, None),
            excluded_urls=_excluded_urls(env),
            console_spans="console" in _exporters(env, "TRACES"),
            ignored_variables=ignored(environ),
            batch=_batch(env, "OTEL_BSP", 5000),
            log_batch=_batch(env, "OTEL_BLRP", 1000),
        )


class _Environment:
    """Reads one variable at a time and puts its name in front of a complaint."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def read(self, name: str, parse: Callable[[str], _T], default: _T) -> _T:
        text = self.text(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from None


def _otlp_traces(env: _Environment) -> OtlpSettings | None:
    endpoint = _endpoint(env, "TRACES")
    return OtlpSettings(traces_endpoint=endpoint, **_options(env, "TRACES")) if endpoint else None


def _otlp_logs(env: _Environment) -> OtlpLogSettings | None:
    endpoint = _endpoint(env, "LOGS")
    return OtlpLogSettings(logs_endpoint=endpoint, **_options(env, "LOGS")) if endpoint else None


def _endpoint(env: _Environment, signal: str) -> str | None:
    """Return the whole URL that a signal goes to; the variable of the signal itself is used as it stands."""
    base = env.read("OTEL_EXPORTER_OTLP_ENDPOINT", parsing.http_url, None)
    endpoint = env.read(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", parsing.http_url, None)
    if endpoint is None and base is not None:
        endpoint = f"{base.removesuffix('/')}/v1/{signal.lower()}"
    return endpoint if "otlp" in _exporters(env, signal) else None


def _exporters(env: _Environment, signal: str) -> Sequence[str]:
    """Return where a signal goes; log lines go to their stream besides, so a console is none of theirs."""
    known = ("otlp", "none") if signal == "LOGS" else ("otlp", "console", "none")
    return env.read(f"OTEL_{signal}_EXPORTER", parsing.some_of(*known), ("otlp",))


def _excluded_urls(env: _Environment) -> tuple[str, ...]:
    """Return the patterns as contrib reads them: those for FastAPI, else those for all instrumentations."""
    nothing: tuple[str, ...] = ()
    general = env.read("OTEL_PYTHON_EXCLUDED_URLS", parsing.parts, nothing)
    return env.read("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", parsing.parts, general)


class _Options(TypedDict):
    headers: Mapping[str, str]
    timeout_seconds: float
    compression: Compression


def _options(env: _Environment, signal: str) -> _Options:
    """Return how a signal is sent: its own variables go before the common ones."""
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"):
        env.read(name, parsing.one_of("http/protobuf"), "")
    headers = env.read("OTEL_EXPORTER_OTLP_HEADERS", parsing.headers, _EMPTY)
    seconds = parsing.number(0.001, 3600)
    timeout = env.read("OTEL_EXPORTER_OTLP_TIMEOUT", seconds, 10.0)
    compression = env.read("OTEL_EXPORTER_OTLP_COMPRESSION", _compression, COMPRESSIONS[0])
    return {
        "headers": headers | env.read(f"OTEL_EXPORTER_OTLP_{signal}_HEADERS", parsing.headers, _EMPTY),
        "timeout_seconds": env.read(f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT", seconds, timeout),
        "compression": env.read(f"OTEL_EXPORTER_OTLP_{signal}_COMPRESSION", _compression, compression),
    }


def _batch(env: _Environment, prefix: str, delay_millis: int) -> BatchSettings:
    whole = parsing.whole_number(1, 1_000_000)
    queue = env.read(f"{prefix}_MAX_QUEUE_SIZE", whole, 2048)
    batch = env.read(f"{prefix}_MAX_EXPORT_BATCH_SIZE", whole, min(512, queue))
    if batch > queue:
        raise SettingsError(f"{prefix}_MAX_EXPORT_BATCH_SIZE: {batch} is more than the queue holds ({queue})")
    return BatchSettings(
        max_queue_size=queue,
        max_export_batch_size=batch,
        schedule_delay_millis=env.read(f"{prefix}_SCHEDULE_DELAY", whole, delay_millis),
    )


def _interceptor(text: str) -> Interceptor:
    for known in INTERCEPTORS:
        if text == known:
            return known
    raise ValueError(f"{text!r} is not one of {', '.join(INTERCEPTORS)}")


def _compression(text: str) -> Compression:
    for known in COMPRESSIONS:
        if text.lower() == known:
            return known
    raise ValueError(f"{text!r} is not one of {', '.join(COMPRESSIONS)}")
