"""The spans of one process: whose provider makes them, who decides on them, and where they go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import TracerProvider

from . import providers
from .export.destinations import SpanDestinations
from .export.health import MonitoredSpanExporter, SafeSpanProcessor
from .export.shutdown import Pipeline
from .host import Host
from .http.head_sampling import HeadSampler, NoHeadSampling
from .metrics.exemplars import ExportedTraces
from .metrics.provider import AggregatingMeterProvider
from .metrics.started_spans import StartedSpans
from .settings import TelemetrySettings
from .traces.sampling import ReplaceableSampler, TraceBudget, make_sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanChoices:
    """What a service gives of its own.

    Attributes:
        sampler: decides, instead of what the settings say.
        processors: further destinations of finished spans.
    """

    sampler: Sampler | None = None
    processors: Sequence[SpanProcessor] = ()


class Spans:
    """The spans of one process.

    Args:
        settings: where they go, and how many.
        host: whose provider makes them, if the host has one.
        choices: what the service gives.
        resource: what makes them.
        meters: count them.
        exported: is told whose spans the collector took.
        counts: whether the SDK counts its spans.

    Attributes:
        budget: of the traces that are begun here; None where something else decides.
        exporter: sends them; None where that is the host's, and before the start.
        head_sampler: decides on requests before there is a span.
        processors: where finished spans go; not those of a host's provider.
        tracers: makes them.

    Raises:
        ValueError: a sampler is given, and the host's provider has one already.
    """

    def __init__(
        self,
        settings: TelemetrySettings,
        host: Host,
        choices: SpanChoices,
        resource: Resource,
        meters: AggregatingMeterProvider,
        exported: ExportedTraces | None,
        *,
        counts: bool,
    ) -> None:
        self._settings, self._host, self._choices = settings, host, choices
        self._meters, self._exported = meters, exported
        self.exporter: MonitoredSpanExporter | None = None
        self.processors = SpanDestinations()
        self._sampler: ReplaceableSampler | None = None
        self.budget: TraceBudget | None = None
        self.head_sampler: HeadSampler
        self.tracers: TracerProvider
        if host.tracers is not None:
            if choices.sampler is not None:
                raise ValueError("a sampler is given, and the tracer provider of the host has one of its own")
            self.tracers, self.head_sampler = host.tracers, NoHeadSampling()
            return
        recording = settings.exports_spans or bool(choices.processors)
        self._sampler, self.budget = make_sampler(settings, choices.sampler, recording=recording)
        sampler = self._sampler
        sampler.started = StartedSpans(meters if counts else None)
        self.head_sampler = HeadSampler(sampler, meters if counts else None)
        own = providers.request_tracer_provider(settings, sampler, resource, self.processors, meters)
        self.tracers, self._shutdown = own, own.shutdown

    def start(self, safe: Callable[[SpanProcessor], SafeSpanProcessor]) -> None:
        """Have finished spans go where they shall; `safe` keeps the errors of a processor from whoever ends a span."""
        processors = self._choices.processors
        if self._host.tracers is None:
            self.exporter = providers.start_span_export(
                self._settings, self.processors, self._meters, self._exported, safe, processors
            )
            return
        add = getattr(self._host.tracers, "add_span_processor", None)  # the SDK's have it
        if add is not None:
            for processor in processors:
                add(safe(processor))

    def sample_with(self, sampler: Sampler) -> Sampler:
        """Have this sampler decide from now on, and return the one before; that of a host's provider stays."""
        return sampler if self._sampler is None else self._sampler.use(sampler)

    def flush(self) -> None:
        """Hand over those that have ended; a host's provider does so by itself."""
        self.processors.force_flush()

    def pipelines(self) -> list[Pipeline]:
        """Return what is to be ended; a host's provider is the host's to end."""
        return [Pipeline("spans", self._shutdown, self.exporter)] if self._host.tracers is None else []
