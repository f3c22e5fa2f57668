"""What a service's telemetry did, for the service's own tests: through the real SDK, in memory.

`capture` gives a strict `Telemetry` that records every trace and leaves the global providers alone. Metrics
are read as Prometheus would read them, names and labels included.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from .runtime import Telemetry
from .settings import TelemetrySettings

Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Capture:
    """A running `Telemetry` and what it recorded."""

    telemetry: Telemetry
    _spans: InMemorySpanExporter

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that ended so far, in the order of their ends."""
        return list(self._spans.get_finished_spans())

    def metrics(self) -> dict[Series, float]:
        """Return each series that ``/metrics`` shows now: its name and labels, and its value."""
        body, _ = self.telemetry.exposition()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of the series of this name that have these labels among theirs; None for no series."""
        wanted = labels.items()
        found = [value for (series, has), value in self.metrics().items() if series == name and wanted <= has]
        return sum(found) if found else None


@contextmanager
def capture(settings: TelemetrySettings | None = None) -> Iterator[Capture]:
    """Run a `Telemetry` that keeps everything in memory.

    Args:
        settings: what to run it with; None records every trace of a service called ``test``.
    """
    spans = InMemorySpanExporter()
    chosen = settings or TelemetrySettings(service_name="test", worker="test-0", sampler="parentbased_always_on")
    telemetry = Telemetry(
        replace(chosen, otlp=None, otlp_metrics=None),
        set_global=False,
        strict=True,
        span_processors=[SimpleSpanProcessor(spans)],
    )
    with telemetry:
        yield Capture(telemetry, spans)
