"""The OpenTelemetry SDK's parts, put together as `telemetry.runtime` needs them.

Nothing here registers with ``atexit``: under uvicorn it never runs on SIGTERM, and with a hanging collector
the SDK's own handlers would hold up the end of the process.
"""

import logging
import threading

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry

from telemetry.interceptor import http_views
from telemetry.settings import BatchSettings, OtlpSettings, TelemetrySettings

WORKER = "worker"
_COMPRESSION = {"none": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}
_logger = logging.getLogger(__name__)


def make_resource(settings: TelemetrySettings) -> Resource:
    """What produces the telemetry: the service, its version, this instance and the slot it fills."""
    attributes = dict(settings.resource_attributes)
    attributes["service.name"] = settings.service_name
    attributes[WORKER] = settings.worker
    if settings.service_version:
        attributes["service.version"] = settings.service_version
    return Resource.create(attributes)


def process_meter_provider(resource: Resource, registry: CollectorRegistry) -> MeterProvider:
    """The provider of series that carry ``worker``; the interceptor's metrics are among them."""
    reader = PrometheusMetricReader(
        registry=registry, scope_info_enabled=False, resource_attribute_filter=lambda name: name == WORKER
    )
    return MeterProvider([reader], resource, shutdown_on_exit=False, views=http_views())


def fleet_meter_provider(resource: Resource, registry: CollectorRegistry) -> MeterProvider:
    """The provider of series that describe all processes together."""
    reader = PrometheusMetricReader(registry=registry, scope_info_enabled=False, disable_target_info=True)
    # The reader measures itself as the other one does, and two families of one name are no valid exposition.
    own = View(instrument_name="otel.sdk.*", aggregation=DropAggregation())
    return MeterProvider([reader], resource, shutdown_on_exit=False, views=[own])


def span_exporter(settings: OtlpSettings, meters: MeterProvider) -> OTLPSpanExporter:
    """The OTLP exporter, which counts in ``meters`` what it sends and what it loses."""
    return OTLPSpanExporter(
        endpoint=settings.traces_endpoint,
        headers=settings.headers,
        timeout=settings.timeout_seconds,
        compression=_COMPRESSION[settings.compression],
        meter_provider=meters,
    )


def span_processor(exporter: OTLPSpanExporter, settings: BatchSettings, meters: MeterProvider) -> BatchSpanProcessor:
    """The queue in front of the exporter, which counts in ``meters`` what it drops."""
    return BatchSpanProcessor(
        exporter,
        max_queue_size=settings.max_queue_size,
        schedule_delay_millis=settings.schedule_delay_millis,
        max_export_batch_size=settings.max_export_batch_size,
        meter_provider=meters,
    )


def drain(tracers: TracerProvider, exporter: OTLPSpanExporter | None, timeout: float) -> bool:
    """Shut a tracer provider down, and wait ``timeout`` seconds for what it still has to export.

    The SDK waits 30 s for a batch that is under way, and its ``force_flush`` waits for ever; so it runs in a
    thread that is left behind.

    Returns:
        Whether everything was handed over in time.
    """
    thread = threading.Thread(target=tracers.shutdown, name="telemetry-drain", daemon=True)
    thread.start()
    thread.join(timeout)
    if not thread.is_alive():
        return True
    _logger.warning("spans are left unsent: the exporter did not finish within %.1f s", timeout)
    if exporter is not None:
        exporter.shutdown()  # type: ignore[no-untyped-call]  # ends a wait between two tries
    return False
