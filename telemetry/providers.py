"""The OpenTelemetry SDK's parts, put together as `telemetry.runtime` needs them.

Nothing here registers with ``atexit``: under uvicorn it never runs on SIGTERM, and with a hanging collector
the SDK's own handlers would hold up the end of the process.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

from opentelemetry import metrics
from opentelemetry.sdk.environment_variables import OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import Metric
from opentelemetry.sdk.metrics.view import DropAggregation
from opentelemetry.sdk.metrics.view import View as SdkView
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from prometheus_client import CollectorRegistry

from ._extras import needs
from .export.destinations import SpanDestinations
from .export.health import CountFailure, MonitoredSpanExporter, SafeSpanProcessor
from .export.metrics import MonitoredMetricExporter, PeriodicMetricExport
from .host import OwnTracerProvider
from .http.head_sampling import PredecidedIdGenerator, PredecidedSampler
from .http.late_spans import FixedIdGenerator, LateSpans, LateSpanWriter, RateLimit
from .identity import WORKER, ProcessResource
from .logs import sink as log_lines
from .metrics.aggregation import View
from .metrics.exemplars import Exemplars, ExportedTraces
from .metrics.instruments import Counter
from .metrics.provider import AggregatingMeterProvider
from .metrics.specs import CounterSpec
from .metrics.views import Views
from .prometheus.endpoint import Exposition
from .prometheus.multiprocess import PeerProcesses
from .prometheus.peer_scrape import LOST, UNREACHABLE, PeerEvents
from .prometheus.reader import PrometheusReader, ReaderCollector
from .settings import BatchSettings, TelemetrySettings

if TYPE_CHECKING:
    from .logs.otlp import OtlpLogSink


_of_one_name: defaultdict[str, Iterator[int]] = defaultdict(count)
"""Two of one name in a process are two services: each finds its like, made in the same place, in other processes."""


def have_the_sdk_count() -> bool:
    """Have the SDK measure itself, unless the environment forbids it; whether it does."""
    # It reads this wherever it makes a tracer, a processor or an exporter, so it has to stay set.
    return os.environ.setdefault(OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED, "true").strip().lower() == "true"


def make_resource(settings: TelemetrySettings) -> ProcessResource:
    """Return what produces the telemetry: the service, its version, this instance and the name of this process."""
    attributes = dict(settings.resource_attributes)
    attributes["service.name"] = settings.service_name
    if settings.service_version:
        attributes["service.version"] = settings.service_version
    return ProcessResource(attributes, settings.worker)


def process_meter_provider(
    resource: Resource,
    registry: CollectorRegistry,
    kept: Mapping[str, View | None],
    exported: ExportedTraces | None = None,
    also: Sequence[metrics.MeterProvider | None] = (),
    views: Views | None = None,
) -> AggregatingMeterProvider:
    """Return the provider of series that carry ``worker``; the interceptor's metrics are among them.

    Args:
        resource: from `make_resource`.
        registry: what ``/metrics`` reads.
        kept: what is, of the interceptor's metrics.
        exported: the traces that an exemplar may name; None for every recorded one.
        also: are told of the same measurements.
        views: the service's own.
    """
    reader = PrometheusReader(Exemplars(exported), resource, resource_labels=[WORKER], target_info=True)
    return _meters(reader, resource, registry, kept, also, views)


def fleet_meter_provider(
    resource: Resource, registry: CollectorRegistry, views: Views | None = None
) -> AggregatingMeterProvider:
    """Return the provider of series that describe all processes together; they have no exemplars."""
    # The reader measures itself as the other one does, and two families of one name are no valid exposition.
    own = SdkView(instrument_name="otel.sdk.*", aggregation=DropAggregation())
    reader = PrometheusReader(Exemplars(), resource, target_info=False)
    return _meters(reader, resource, registry, {}, (), views, own)


def _meters(
    reader: PrometheusReader,
    resource: Resource,
    registry: CollectorRegistry,
    kept: Mapping[str, View | None],
    also: Sequence[metrics.MeterProvider | None],
    views: Views | None,
    *own: SdkView,
) -> AggregatingMeterProvider:
    registry.register(ReaderCollector(reader))
    off, views = AlwaysOffExemplarFilter(), views or Views()
    inside = MeterProvider([reader], resource, shutdown_on_exit=False, views=[*views.sdk, *own], exemplar_filter=off)
    meters = AggregatingMeterProvider(inside, kept, also, views)
    reader.add_producer(meters.metrics)
    return meters


def peer_processes(
    settings: TelemetrySettings,
    resource: ProcessResource,
    exposition: Exposition,
    counter: Callable[[CounterSpec], Counter],
) -> PeerProcesses | None:
    """Return the other processes of this server; None for one with a name and no directory, which stands alone.

    Args:
        settings: what is known of them.
        resource: is given the name of this process.
        exposition: gives them the text of its series.
        counter: counts what goes wrong.
    """
    number = next(_of_one_name[settings.service_name])
    place = settings.socket_dir or f"{settings.service_name}/{number}"
    if settings.worker is not None and settings.socket_dir is None:
        return None
    missed, lost = counter(UNREACHABLE), counter(LOST)
    events = PeerEvents(resource.name_process, lambda: missed.add(1), lambda: lost.add(1))
    return PeerProcesses(place, settings.worker, exposition.render_own, exposition.render_fleet, events)


def log_sink(
    settings: TelemetrySettings, resource: Resource, meters: metrics.MeterProvider, failed: CountFailure
) -> "OtlpLogSink | None":
    """Return what sends log lines by OTLP, where the settings say so."""
    if settings.otlp_logs is None or settings.sdk_disabled:
        return None
    with needs("otlp"):
        from .logs.otlp import OtlpLogSink  # noqa: PLC0415 - only where log lines are sent: the log SDK is private

    sink = OtlpLogSink(settings.otlp_logs, settings.log_batch, resource, meters, failed)
    log_lines.set_sink(sink.emit)
    return sink


def tracer_provider(
    sampler: Sampler,
    resource: Resource,
    processors: SynchronousMultiSpanProcessor,
    meters: metrics.MeterProvider,
    ids: IdGenerator | None = None,
) -> OwnTracerProvider:
    """Return a provider whose spans go to ``processors``, which it may share with others."""
    return OwnTracerProvider(
        sampler,
        resource,
        shutdown_on_exit=False,
        active_span_processor=processors,
        id_generator=ids,
        meter_provider=meters,
    )


def request_tracer_provider(
    settings: TelemetrySettings,
    sampler: Sampler,
    resource: Resource,
    processors: SynchronousMultiSpanProcessor,
    meters: metrics.MeterProvider,
) -> OwnTracerProvider:
    """Return the provider of this process; under ``lean`` a request's trace is decided on before its span is made."""
    if settings.interceptor != "lean":
        return tracer_provider(sampler, resource, processors, meters)
    return tracer_provider(PredecidedSampler(sampler), resource, processors, meters, PredecidedIdGenerator())


def late_spans(
    settings: TelemetrySettings,
    resource: Resource,
    processors: SynchronousMultiSpanProcessor,
    meters: metrics.MeterProvider,
    spans: Counter,
) -> LateSpans:
    """Return what writes the spans of requests that were not recorded; ``spans`` counts them."""
    ids = FixedIdGenerator()
    tracers = tracer_provider(ALWAYS_ON, resource, processors, meters, ids)
    writer = LateSpanWriter(tracers, ids, RateLimit(settings.afterwards_per_second))
    writer.count = lambda written: spans.add(1, {"result": "written" if written else "left_out"})
    return LateSpans(writer, settings.slow_seconds)


def metric_export(
    settings: TelemetrySettings,
    resource: Resource,
    process: AggregatingMeterProvider,
    fleet: AggregatingMeterProvider,
    exports_fleet: Callable[[], bool],
    failed: CountFailure,
) -> PeriodicMetricExport | None:
    """Return what sends metrics by OTLP, where the settings say so.

    It does not measure itself, for that would be sent, too.
    """
    if settings.otlp_metrics is None or settings.sdk_disabled:
        return None
    chosen = settings.otlp_metrics
    with needs("otlp"):
        from .export.otlp import metric_exporter  # noqa: PLC0415 - as above

    def make() -> MonitoredMetricExporter:
        exporter = MonitoredMetricExporter(metric_exporter(chosen))
        exporter.count_failure = failed
        return exporter

    def of_process() -> Iterable[Metric]:
        return process.all_metrics()

    def of_fleet() -> Iterable[Metric]:
        return fleet.all_metrics() if exports_fleet() else ()

    for meters in (process, fleet):
        meters.read_inside()
    made = PeriodicMetricExport((of_process, of_fleet), resource, make, chosen.interval_seconds, chosen.temporality)
    process.flush = fleet.flush = made.flush
    return made


def start_span_export(
    settings: TelemetrySettings,
    processors: SpanDestinations,
    meters: metrics.MeterProvider,
    exported: ExportedTraces | None,
    safe: Callable[[SpanProcessor], SafeSpanProcessor],
    more: Sequence[SpanProcessor],
) -> MonitoredSpanExporter | None:
    """Have finished spans go where the settings say; return what exports them by OTLP.

    Args:
        settings: where they go.
        processors: all that a finished span goes to; those that are made are added.
        meters: counts what is sent and what is dropped.
        exported: notes whose spans the collector took.
        safe: keeps the errors of a processor from whoever ends a span.
        more: where they go besides.
    """
    console = [SimpleSpanProcessor(ConsoleSpanExporter())] if settings.console_spans else []
    for processor in (*more, *console):
        processors.add_ending(safe(processor))
    if settings.otlp is None:
        return None
    with needs("otlp"):
        from .export.otlp import span_exporter  # noqa: PLC0415 - only where it is sent

    exporter = MonitoredSpanExporter(span_exporter(settings.otlp, meters, exported))
    queue = safe(span_processor(exporter, settings.batch, meters))
    exporter.count_failure = queue.count_failure
    processors.add_ending(queue)
    return exporter


def span_processor(
    exporter: SpanExporter, settings: BatchSettings, meters: metrics.MeterProvider
) -> BatchSpanProcessor:
    """Return the queue in front of the exporter, which counts in ``meters`` what it drops."""
    return BatchSpanProcessor(
        exporter,
        max_queue_size=settings.max_queue_size,
        schedule_delay_millis=settings.schedule_delay_millis,
        max_export_batch_size=settings.max_export_batch_size,
        meter_provider=meters,
    )
