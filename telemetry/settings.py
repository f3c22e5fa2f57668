"""What the environment says about telemetry, read once and frozen.

The ``OTEL_*`` names keep their standard meaning; an empty value counts as unset. A value that cannot be used
raises `SettingsError`, one line that starts with the variable's name. Nothing else in this package reads the
environment, apart from OpenTelemetry's own libraries.

``OTEL_EXPORTER_OTLP_TIMEOUT`` is in seconds, as in every OpenTelemetry exporter for Python;
``OTEL_BSP_SCHEDULE_DELAY`` and ``OTEL_BLRP_SCHEDULE_DELAY`` are in milliseconds.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from . import environment as parsing
from . import otel_variables
from .environment import Environment, SettingsError
from .export_settings import (
    BatchSettings,
    Compression,
    OtlpLogSettings,
    OtlpMetricSettings,
    OtlpOptions,
    OtlpSettings,
    Temporality,
    batch,
    exporters,
    metric_interval_seconds,
    otlp_logs,
    otlp_metrics,
    otlp_traces,
)
from .variables import ignored

__all__ = [
    "INTERCEPTORS",
    "SAMPLERS",
    "BatchSettings",
    "Compression",
    "Interceptor",
    "OtlpLogSettings",
    "OtlpMetricSettings",
    "OtlpOptions",
    "OtlpSettings",
    "SettingsError",
    "TelemetrySettings",
    "Temporality",
    "prepare_environment",
]

Interceptor = Literal["contrib", "native", "lean"]
INTERCEPTORS: tuple[Interceptor, ...] = ("contrib", "native", "lean")
SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)

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


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetrySettings:
    """Everything `telemetry.Telemetry` needs to know.

    Attributes:
        service_name: ``service.name`` of the resource.
        service_version: ``service.version`` of the resource.
        worker: the name of this process, such as ``api-0``; a label on each of its series. Names are reused,
            so that a process that takes over a name looks like a counter reset. None: the process claims a slot
            among those that serve where it does, and is ``main`` where there is no other.
        resource_attributes: further attributes of the resource.
        sdk_disabled: no spans and no metrics at all.
        otlp: where spans go; None keeps none.
        otlp_logs: where log lines go besides their stream; None sends none.
        otlp_metrics: where metrics go besides ``/metrics``; None sends none.
        sampler: one of `SAMPLERS`, or None for the budget.
        sampler_arg: the ratio of the two ratio samplers, 0 to 1.
        traces_per_second: the budget of this process, in traces begun here.
        slow_seconds: from how long on a request leaves its span although its trace is not recorded.
        afterwards_per_second: how many spans a second are written afterwards, for requests that failed or were slow.
        trust_client_sampling: whether the sampled flag of a ``traceparent`` from the network is obeyed.
        keep_propagators: keep the global propagator that OpenTelemetry made from ``OTEL_PROPAGATORS``;
            otherwise it is set to trace context alone, so that a client's baggage goes no further.
        interceptor: what measures requests and makes their spans, see `telemetry.http.instrumentation`.
        socket_dir: a directory in which peer processes find each other, so that each answers ``/metrics`` for all;
            None: those of one server that have no ``worker`` find each other by its address.
        metrics_address: a host and a port where `Telemetry.running` serves ``/metrics`` as well; None for nowhere.
        excluded_paths: request paths that get neither spans nor metrics.
        excluded_urls: regular expressions; a request whose URL has one of them gets neither, too.
        console_spans: whether spans are written to stdout as well, as JSON.
        console_metrics_seconds: how often metrics are written there as well; 0 for never.
        ignored_variables: those of OpenTelemetry's and our own that are set and have no effect; `Telemetry.start`
            tells them.
        batch: limits of the span queue.
        log_batch: limits of the queue of log lines.
    """

    service_name: str
    service_version: str = ""
    worker: str | None = None
    resource_attributes: Mapping[str, str] = field(default_factory=dict)
    sdk_disabled: bool = False
    otlp: OtlpSettings | None = None
    otlp_logs: OtlpLogSettings | None = None
    otlp_metrics: OtlpMetricSettings | None = None
    sampler: str | None = None
    sampler_arg: float = 1.0
    traces_per_second: float = 100.0
    slow_seconds: float = 1.0
    afterwards_per_second: int = 100
    trust_client_sampling: bool = False
    keep_propagators: bool = False
    interceptor: Interceptor = "contrib"
    socket_dir: Path | None = None
    metrics_address: tuple[str, int] | None = None
    excluded_paths: tuple[str, ...] = ("/metrics", "/healthz", "/readyz")
    excluded_urls: tuple[str, ...] = ()
    console_spans: bool = False
    console_metrics_seconds: float = 0.0
    ignored_variables: tuple[str, ...] = ()
    batch: BatchSettings = field(default_factory=BatchSettings)
    log_batch: BatchSettings = field(default_factory=lambda: BatchSettings(schedule_delay_millis=1000))

    @property
    def exports_spans(self) -> bool:
        """Whether finished spans go anywhere."""
        return self.otlp is not None or self.console_spans

    @property
    def modules(self) -> tuple[str, ...]:
        """What a process with these settings imports late; who forks several of them imports it once, before."""
        names = [f"{__package__}.runtime", f"{__package__}.http.{self.interceptor}"]
        if self.interceptor == "contrib":
            names.append("opentelemetry.instrumentation.fastapi")
        if self.otlp or self.otlp_metrics:
            names.append(f"{__package__}.export.otlp")
        if self.otlp_logs:
            names.append(f"{__package__}.logs.otlp")
        return tuple(names)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], *, service_name: str, service_version: str = "", worker: str | None = None
    ) -> "TelemetrySettings":
        """Read the settings; the service's own name counts where the environment gives none.

        Raises:
            SettingsError: a variable holds a value that cannot be used.
        """
        try:
            otel_variables.check(environ)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        env = Environment(environ)
        resource = dict(env.read("OTEL_RESOURCE_ATTRIBUTES", parsing.resource_attributes, _EMPTY))
        return cls(
            service_name=env.text("OTEL_SERVICE_NAME") or resource.pop("service.name", service_name),
            service_version=resource.pop("service.version", service_version),
            worker=worker,
            resource_attributes=resource,
            sdk_disabled=env.read("OTEL_SDK_DISABLED", parsing.boolean, default=False),
            otlp=otlp_traces(env),
            otlp_logs=otlp_logs(env),
            otlp_metrics=otlp_metrics(env),
            sampler=env.read("OTEL_TRACES_SAMPLER", parsing.one_of(*SAMPLERS), None),
            sampler_arg=env.read("OTEL_TRACES_SAMPLER_ARG", parsing.number(0, 1), 1.0),
            traces_per_second=env.read("TELEMETRY_TRACES_PER_SECOND", parsing.number(0, 1_000_000), 100.0),
            slow_seconds=env.read("TELEMETRY_SLOW_SECONDS", parsing.number(0.001, 86_400), 1.0),
            afterwards_per_second=env.read("TELEMETRY_AFTERWARDS_PER_SECOND", parsing.whole_number(0, 1_000_000), 100),
            trust_client_sampling=env.read("TELEMETRY_TRUST_CLIENT_SAMPLING", parsing.boolean, default=False),
            keep_propagators=env.text("OTEL_PROPAGATORS") is not None,
            interceptor=env.read("TELEMETRY_INTERCEPTOR", _interceptor, INTERCEPTORS[0]),
            socket_dir=env.read("TELEMETRY_SOCKET_DIR", parsing.socket_directory, None),
            metrics_address=_metrics_address(env),
            excluded_urls=_excluded_urls(env),
            console_spans="console" in exporters(env, "TRACES"),
            console_metrics_seconds=metric_interval_seconds(env) if "console" in exporters(env, "METRICS") else 0.0,
            ignored_variables=ignored(environ),
            batch=batch(env, "OTEL_BSP", 5000),
            log_batch=batch(env, "OTEL_BLRP", 1000),
        )


def _metrics_address(env: Environment) -> tuple[str, int] | None:
    """Return where metrics are asked for; a host alone asks for nothing."""
    port = env.read("OTEL_EXPORTER_PROMETHEUS_PORT", parsing.whole_number(0, 65_535), 0)
    return (env.text("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost", port) if port else None


def _excluded_urls(env: Environment) -> tuple[str, ...]:
    """Return the patterns as contrib reads them: those for FastAPI, else those for all instrumentations."""
    nothing: tuple[str, ...] = ()
    general = env.read("OTEL_PYTHON_EXCLUDED_URLS", parsing.parts, nothing)
    return env.read("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", parsing.parts, general)


def _interceptor(text: str) -> Interceptor:
    for known in INTERCEPTORS:
        if text == known:
            return known
    raise ValueError(f"{text!r} is not one of {', '.join(INTERCEPTORS)}")
