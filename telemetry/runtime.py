"""`Telemetry` owns the telemetry of one process, from start to a shutdown that is bounded in time.

Two meter providers feed one ``/metrics``: the series of the *process* provider carry the label ``worker``,
those of the *fleet* provider do not. Providers are passed to whoever needs them; `Telemetry.start` also makes
them the global ones, unless it is told not to. Spans leave by OTLP when an endpoint is set; otherwise none is
recorded. So do log lines, from `telemetry.logs.configuration`.

uvicorn runs the lifespan's shutdown on SIGTERM and then raises the signal again, so ``atexit`` never runs:
call `Telemetry.shutdown` in the lifespan.
"""

import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, Unpack

from opentelemetry import metrics, propagate, trace
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from . import arguments, providers
from .applications import ApplicationTelemetry
from .export.health import FAILURES, CountFailure, Health, SafeSpanProcessor
from .export.metrics import PeriodicMetricExport
from .export.shutdown import Pipeline, drain
from .host import become_global, find_host
from .http.conventions import use_stable_conventions
from .http.late_spans import LATE_SPANS, LateSpans
from .http.options import RequestChoices
from .http.parts import Parts
from .identity import ProcessResource
from .logs.handler import LOG_LINES_DROPPED, dropped
from .measuring import MeasuringTelemetry
from .metrics.exemplars import ExportedTraces
from .metrics.instruments import Instruments
from .metrics.provider import AggregatingMeterProvider
from .metrics.readers import reader_provider
from .metrics.views import Views
from .prometheus.endpoint import Exposition, MetricsEndpoint
from .settings import TelemetrySettings
from .spans import SpanChoices, Spans
from .traces.safe_propagator import SafePropagator
from .traces.sampling import SAMPLING_RATIO, TraceBudget
from .variables import described

SHUTDOWN_SECONDS = 3.0
_logger = logging.getLogger(__name__)


class Telemetry(ApplicationTelemetry, MeasuringTelemetry):
    """The telemetry of one process; a context manager.

    Instruments, tracers and `instrument` may be used once it is constructed; spans are exported from `start` on.

    Args:
        settings: what to do; or the service's name, and the rest is read from the environment.
        set_global: whether `start` makes the providers OpenTelemetry's global ones.
        strict: whether an observation that does not match its declaration is an error; for tests.
        tracer_provider: the host's own, which makes, samples and sends all spans; else that which is global when this
            is constructed. Without either, ours becomes global.
        meter_provider: the host's own, which is told of every measurement as well, and sends it; else as above.
        sampler: decides on spans, instead of what the settings say.
        span_processors: further destinations of finished spans.
        metric_readers: the SDK's readers of the metrics, besides ``/metrics``.
        views: the SDK's, of every metric wherever it goes: its name, description, bounds, attributes, or that it is
            dropped.
        registries: the host's own of prometheus_client, which ``/metrics`` shows as well.
        requests: ``exclude``, ``labels``, ``buckets``, ``server_request_hook``, ``client_request_hook`` and
            ``client_response_hook``: see `telemetry.http.options.RequestOptions`.

    Attributes:
        fleet_exporter: whether this process exports the fleet's series now; may be set at any time.
    """

    def __init__(
        self,
        settings: TelemetrySettings | str,
        *,
        set_global: bool = True,
        strict: bool = False,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        sampler: Sampler | None = None,
        metric_readers: Sequence[MetricReader] = (),
        views: Sequence[View] = (),
        span_processors: Sequence[SpanProcessor] = (),
        registries: Sequence[Collector] = (),
        **requests: Unpack[RequestChoices],
    ) -> None:
        arguments.check(settings, {**locals(), **requests})  # nothing but the arguments is local yet
        super().__init__(settings, requests)
        settings = self.settings
        self.fleet_exporter = True
        self._set_global, self._strict = set_global, strict
        self._started = self._stopped = False
        self._ending = threading.RLock()
        use_stable_conventions()
        counts = providers.have_the_sdk_count()
        self._resource = resource = providers.make_resource(settings)
        self._exposition = Exposition(lambda: resource.worker, lambda: self.fleet_exporter, registries)
        self._host = find_host(tracer_provider, meter_provider, look_around=set_global)
        self._readers = reader_provider(metric_readers, settings, resource, chosen := Views(views))
        self._exported = ExportedTraces() if settings.otlp is not None and self._host.tracers is None else None
        self._process = self._make_process_meters(chosen)
        self._fleet = providers.fleet_meter_provider(resource, self._exposition.fleet, chosen)
        choices = SpanChoices(sampler=sampler, processors=span_processors)
        self._spans = Spans(settings, self._host, choices, resource, self._process, self._exported, counts=counts)
        self._instruments = Instruments(self.meter_provider, self._off_or(self._fleet), strict=strict)
        self._failed = self._make_failure_count()
        self._late_spans = self._make_late_spans(self._spans.budget, resource)
        self._logs = providers.log_sink(settings, resource, self._process, self._failed) if set_global else None
        self._metric_export = self._make_metric_export(resource)
        self._endpoint = self._make_endpoint(resource)

    def _make_process_meters(self, views: Views) -> AggregatingMeterProvider:
        registry, kept = self._exposition.process, self._options.kept
        also = (self._host.meters, self._readers)
        return providers.process_meter_provider(self._resource, registry, kept, self._exported, also, views)

    def _make_endpoint(self, resource: ProcessResource) -> MetricsEndpoint:
        peers = providers.peer_processes(self.settings, resource, self._exposition, self.counter)
        return MetricsEndpoint(self._exposition, peers, self._instruments.guard.reraise)

    def _make_failure_count(self) -> CountFailure:
        self.observe(LOG_LINES_DROPPED, lambda: [(number, {"reason": why}) for why, number in dropped.items()])
        failures = self.counter(FAILURES)
        return lambda part: failures.add(1, {"part": part})

    def _make_metric_export(self, resource: Resource) -> PeriodicMetricExport | None:
        if self._host.meters is not None:  # it sends them
            return None
        meters = self._process, self._fleet
        return providers.metric_export(self.settings, resource, *meters, lambda: self.fleet_exporter, self._failed)

    def _make_late_spans(self, budget: TraceBudget | None, resource: Resource) -> LateSpans | None:
        if budget is None:
            return None
        self.observe(SAMPLING_RATIO, lambda: [(budget.ratio, {})])
        spans = self.counter(LATE_SPANS)
        return providers.late_spans(self.settings, resource, self._spans.processors, self._process, spans)

    @property
    def worker(self) -> str:
        """The name of this process: as the settings say, or from `serving_peers` on that of its slot."""
        return self._resource.worker

    @property
    def tracer_provider(self) -> trace.TracerProvider:
        """Where this process's tracers come from."""
        return trace.NoOpTracerProvider() if self.settings.sdk_disabled else self._spans.tracers

    @property
    def meter_provider(self) -> metrics.MeterProvider:
        """Where the instruments of this process come from; their series carry ``worker``."""
        return self._off_or(self._process)

    @property
    def registry(self) -> CollectorRegistry:
        """Everything that ``/metrics`` shows now."""
        return self._exposition.registry

    @property
    def exporter_health(self) -> dict[str, Health]:
        """What is known of the collector behind each pipeline that exports: `spans`, `log lines`, `metrics`."""
        more = {"log lines": self._logs, "metrics": self._metric_export}
        found = {"spans": self._spans.exporter, **{name: each.exporter for name, each in more.items() if each}}
        return {name: exporter.health for name, exporter in found.items() if exporter is not None}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.shutdown()

    def start(self) -> None:
        """Begin to export spans, and become global; a second call does nothing, one after `shutdown` begins anew."""
        if self._started and not self._stopped:
            return
        is_first, self._started, self._stopped = not self._started, True, False
        if self.settings.ignored_variables:
            _logger.warning("variables without an effect here: %s", described(self.settings.ignored_variables))
        if not self.settings.sdk_disabled:
            self._spans.start(self._safe)
            for export in (self._metric_export, self._logs):
                if export is not None:
                    export.start()
        if self._set_global and is_first:
            become_global(self._host, self.tracer_provider, self.meter_provider)
            if self.settings.keep_propagators or self._host.tracers is not None:
                propagate.set_global_textmap(SafePropagator(propagate.get_global_textmap(), self._failed))
            else:
                propagate.set_global_textmap(TraceContextTextMapPropagator())

    def shutdown(self, timeout: float = SHUTDOWN_SECONDS) -> bool:
        """Export the spans and log lines that are left, and stop; a second call waits for the first.

        Blocks for up to ``timeout`` seconds, and only while the collector does not answer: in an event loop,
        call it in a thread. A collector that took nothing before is given less, see `drain`.

        Returns:
            Whether everything was handed over in time.
        """
        with self._ending:
            if self._stopped:
                return True
            self._stopped = True
            return self._stop(timeout)

    def _stop(self, timeout: float) -> bool:
        pipelines = [*self._host.pipelines(), *self._spans.pipelines()]
        if self._readers is not None:  # they end once, and do not begin anew
            pipelines.append(Pipeline("metrics for readers", self._readers.shutdown, None))
            self._readers = None
        if self._metric_export is not None:
            pipelines.append(Pipeline("metrics", self._metric_export.stop, self._metric_export.exporter))
        if self._logs is not None:
            pipelines.append(Pipeline("log lines", self._logs.stop, self._logs.exporter))
        drained = drain(pipelines, timeout)
        if self._logs is not None:
            self._logs.flush_late(collector_answers=drained and self._started)
        self._spans.processors.remove_ended()
        return drained

    @property
    def _has_started(self) -> bool:
        return self._started

    def _flush(self) -> None:
        self._host.flush()
        self._spans.flush()
        for sent in (self._metric_export, self._logs):
            if sent is not None:
                sent.flush()

    def sample_with(self, sampler: Sampler) -> Sampler:
        """Have this sampler decide from now on, as a test does; return the one before."""
        return self._spans.sample_with(sampler)

    def remove_span_processor(self, processor: SpanProcessor) -> None:
        """Give it no more spans; one is added by ``tracer_provider.add_span_processor``."""
        self._spans.processors.remove(processor)

    def tracer(self, name: str) -> trace.Tracer:
        """Return a tracer; ``name`` is the module that makes the spans."""
        return self.tracer_provider.get_tracer(name)

    def exposition(self, accept: str | None = None) -> tuple[bytes, str]:
        """Return the body and the content type of an answer to ``GET /metrics``.

        Args:
            accept: the request's ``Accept`` header.
        """
        return self._endpoint.render(accept)

    async def exposition_of_all(self, accept: str | None = None) -> tuple[bytes, str]:
        """Give the answer to ``GET /metrics`` for this process and every peer in ``socket_dir``."""
        return await self._endpoint.render_all(accept)

    def serving_peers(self) -> AbstractAsyncContextManager[None]:
        """Let the other processes of this server ask for this one's series while the block lasts."""
        return self._endpoint.serving_peers()

    def _answered_group(self) -> str:
        return self._endpoint.group()

    def _parts(self) -> Parts:
        return Parts(
            self.settings,
            self.tracer_provider,
            self._process,
            self._listener,
            self._spans.head_sampler,
            self._late_spans,
            self._options,
            is_global=self._set_global and self._host.tracers is None and self._host.meters is None,
        )

    def _safe(self, processor: SpanProcessor) -> SafeSpanProcessor:
        return SafeSpanProcessor(processor, self._failed, strict=self._strict)

    def _off_or(self, provider: metrics.MeterProvider) -> metrics.MeterProvider:
        return metrics.NoOpMeterProvider() if self.settings.sdk_disabled else provider
