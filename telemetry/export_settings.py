"""Where spans, log lines and metrics go, as the environment says it: endpoints, options and limits of queues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from . import environment as parsing
from .environment import Environment, SettingsError

Compression = Literal["none", "gzip", "deflate"]
Temporality = Literal["cumulative", "delta", "lowmemory"]
TEMPORALITIES: tuple[Temporality, ...] = ("cumulative", "delta", "lowmemory")
COMPRESSIONS: tuple[Compression, ...] = ("none", "gzip", "deflate")

DEFAULT_ENDPOINT = "http://localhost:4318"
"""OpenTelemetry's, for OTLP over HTTP."""
_EMPTY: dict[str, str] = {}


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
class OtlpMetricSettings(OtlpOptions):
    """Where metrics go besides ``/metrics``, how often, and as what."""

    metrics_endpoint: str
    interval_seconds: float = 60.0
    temporality: Temporality = "cumulative"


def otlp_traces(env: Environment) -> OtlpSettings | None:
    """Return where spans go."""
    endpoint = _endpoint(env, "TRACES")
    return OtlpSettings(traces_endpoint=endpoint, **_options(env, "TRACES")) if endpoint else None


def otlp_logs(env: Environment) -> OtlpLogSettings | None:
    """Return where log lines go besides their stream."""
    endpoint = _endpoint(env, "LOGS")
    return OtlpLogSettings(logs_endpoint=endpoint, **_options(env, "LOGS")) if endpoint else None


def otlp_metrics(env: Environment) -> OtlpMetricSettings | None:
    """Return where metrics go; they do so where they are told to, for ``/metrics`` has them anyway."""
    endpoint = _endpoint(env, "METRICS")
    interval_seconds = metric_interval_seconds(env)
    preference = env.read("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", parsing.one_of(*TEMPORALITIES), "")
    if endpoint is None:
        return None
    return OtlpMetricSettings(
        metrics_endpoint=endpoint,
        interval_seconds=interval_seconds,
        temporality=next((known for known in TEMPORALITIES if known == preference), TEMPORALITIES[0]),
        **_options(env, "METRICS"),
    )


def metric_interval_seconds(env: Environment) -> float:
    """Return how often metrics are sent."""
    return env.read("OTEL_METRIC_EXPORT_INTERVAL", parsing.whole_number(1, 86_400_000), 60_000) / 1000


def _endpoint(env: Environment, signal: str) -> str | None:
    """Return the whole URL that a signal goes to; the variable of the signal itself is used as it stands.

    Who asks for OTLP by name and gives no endpoint has OpenTelemetry's; nobody who did not ask sends anything there.
    """
    base = env.read("OTEL_EXPORTER_OTLP_ENDPOINT", parsing.http_url, None)
    endpoint = env.read(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", parsing.http_url, None)
    if "otlp" not in exporters(env, signal):
        return None
    if base is None and env.text(f"OTEL_{signal}_EXPORTER") is not None:
        base = DEFAULT_ENDPOINT
    if endpoint is None and base is not None:
        endpoint = f"{base.removesuffix('/')}/v1/{signal.lower()}"
    return endpoint


def exporters(env: Environment, signal: str) -> Sequence[str]:
    """Return where a signal goes; log lines go to their stream anyway, which is their console."""
    also, default = (("prometheus",), "prometheus") if signal == "METRICS" else ((), "otlp")
    return env.read(f"OTEL_{signal}_EXPORTER", parsing.some_of(*also, "otlp", "console", "none"), (default,))


class _Options(TypedDict):
    headers: Mapping[str, str]
    timeout_seconds: float
    compression: Compression


def _options(env: Environment, signal: str) -> _Options:
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


def batch(env: Environment, prefix: str, delay_millis: int) -> BatchSettings:
    """Return the limits of a queue."""
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


def _compression(text: str) -> Compression:
    for known in COMPRESSIONS:
        if text.lower() == known:
            return known
    raise ValueError(f"{text!r} is not one of {', '.join(COMPRESSIONS)}")
