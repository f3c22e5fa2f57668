"""What a host has of OpenTelemetry already: its providers are used, and theirs is the last word.

A service that is run by `opentelemetry-instrument`, or that sets providers of its own, keeps its spans: they are made
by its provider, sampled by its sampler and sent by its exporters, those of requests among them. `/metrics` is there all
the same; what is counted for it is told to the host's meter provider as well.
"""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import TracerProvider

from .export.shutdown import Pipeline
from .metrics.provider import AggregatingMeterProvider

_PLACEHOLDERS = ("opentelemetry.trace", "opentelemetry.metrics", "opentelemetry._logs")
_LATE = (
    "a global %s provider was set after Telemetry was made: what it makes and what is made here do not belong "
    "together; make Telemetry after it, or give it that provider"
)
_Provider = TypeVar("_Provider")
_logger = logging.getLogger(__name__)
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"


class OwnTracerProvider(TracerProvider):
    """A tracer provider that is no host's."""


@dataclass(frozen=True, slots=True)
class Host:
    """What it has.

    Attributes:
        tracers: makes its spans; None where we do.
        meters: is told of metrics, too; None where nobody else is.
        logs: sends log lines; None where it does not.
    """

    tracers: trace.TracerProvider | None = None
    meters: metrics.MeterProvider | None = None
    logs: object | None = None

    def pipelines(self) -> list[Pipeline]:
        """Return what is to be handed over at the end: under uvicorn, nobody may get to do it later."""
        given = {"the host's spans": self.tracers, "the host's metrics": self.meters, "the host's log lines": self.logs}
        flushes = {name: getattr(provider, "force_flush", None) for name, provider in given.items()}
        return [Pipeline(name, flush, None) for name, flush in flushes.items() if flush is not None]

    def flush(self) -> None:
        """Hand over what there is by now."""
        for pipeline in self.pipelines():
            pipeline.stop()


def find_host(tracers: trace.TracerProvider | None, meters: metrics.MeterProvider | None, *, look_around: bool) -> Host:
    """Return what is given, else what is global by now.

    Args:
        tracers: what the host gives.
        meters: what the host gives.
        look_around: whether global providers count.
    """
    if tracers is None and look_around:
        tracers = _set_by_host(trace.get_tracer_provider())
    if meters is None and look_around:
        meters = _set_by_host(metrics.get_meter_provider())
    return Host(tracers, meters, _log_provider() if look_around else None)


def become_global(host: Host, tracers: trace.TracerProvider, meters: metrics.MeterProvider) -> None:
    """Make our providers the global ones, where the host has none.

    One that was set since we looked is told, for traces are torn by it; that of another `Telemetry` stays.
    """
    late = find_host(None, None, look_around=True)
    if host.tracers is None and late.tracers is None:
        if not isinstance(trace.get_tracer_provider(), OwnTracerProvider):
            trace.set_tracer_provider(tracers)
    elif host.tracers is None:
        _logger.warning(_LATE, "tracer")
    if host.meters is None and late.meters is None:
        if not isinstance(metrics.get_meter_provider(), AggregatingMeterProvider):
            metrics.set_meter_provider(meters)
    elif host.meters is None:
        _logger.warning(_LATE, "meter")


def environment_beside_host(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment without what is for the host's exporters alone.

    `opentelemetry-instrument` sets the protocol to ``grpc``, which is not spoken here, where there is no other.
    """
    if environ.get(_PROTOCOL) != "grpc" or _set_by_host(trace.get_tracer_provider()) is None:
        return environ
    return {name: text for name, text in environ.items() if name != _PROTOCOL}


def _log_provider() -> object | None:
    """Return that of the host's log lines; its interface has no public name yet, and is not needed for more."""
    get = getattr(sys.modules.get("opentelemetry._logs"), "get_logger_provider", None)
    return None if get is None else _set_by_host(get())


def _set_by_host(provider: _Provider) -> _Provider | None:
    stands_in = type(provider).__module__.startswith(_PLACEHOLDERS)  # the API's own, until there is one
    return None if stands_in or isinstance(provider, OwnTracerProvider | AggregatingMeterProvider) else provider
