"""The SDK's readers of the same metrics, besides `/metrics`: a service's own, and that of the console."""

from collections.abc import Sequence

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from ..settings import TelemetrySettings
from .views import Views


def reader_provider(
    readers: Sequence[MetricReader], settings: TelemetrySettings, resource: Resource, views: Views
) -> MeterProvider | None:
    """Return the SDK's provider for readers of the service's own, and for the console; None without any."""
    if settings.console_metrics_seconds:
        every = settings.console_metrics_seconds * 1000
        readers = [*readers, PeriodicExportingMetricReader(ConsoleMetricExporter(), export_interval_millis=every)]
    return MeterProvider(readers, resource, shutdown_on_exit=False, views=views.sdk) if readers else None
