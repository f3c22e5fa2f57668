"""OpenTelemetry's exporters by OTLP, set as the settings say. Loaded only where something is sent."""

from collections.abc import Sequence

from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from ..metrics.exemplars import ExportedTraces
from ..settings import OtlpMetricSettings, OtlpSettings


class _NotingExporter(OTLPSpanExporter):
    """The OTLP exporter, which says whose spans the collector took."""

    noted: ExportedTraces | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS and self.noted is not None:
            self.noted.add(span.context.trace_id for span in spans if span.context)
        return result


def span_exporter(
    settings: OtlpSettings, meters: metrics.MeterProvider, exported: ExportedTraces | None = None
) -> OTLPSpanExporter:
    """Return the exporter of spans; it counts in ``meters`` what it sends and loses, and notes it in ``exported``."""
    exporter = _NotingExporter(
        endpoint=settings.traces_endpoint,
        headers=settings.headers,
        timeout=settings.timeout_seconds,
        compression=Compression(settings.compression),
        meter_provider=meters,
    )
    exporter.noted = exported
    return exporter


def metric_exporter(settings: OtlpMetricSettings) -> OTLPMetricExporter:
    """Return the exporter of metrics; it does not measure itself, for that would be sent, too."""
    return OTLPMetricExporter(
        endpoint=settings.metrics_endpoint,
        headers=dict(settings.headers),
        timeout=settings.timeout_seconds,
        compression=Compression(settings.compression),
        meter_provider=metrics.NoOpMeterProvider(),
    )
