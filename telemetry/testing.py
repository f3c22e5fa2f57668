"""What a service's telemetry did, for the service's own tests: through the real SDK, in memory.

`capture` gives a strict `Telemetry` that records every trace and leaves the global providers alone; `attach` looks at
the telemetry that an application has already. Metrics are read as Prometheus would read them, with names and labels.
pytest finds the fixture ``telemetry`` by itself: it is a `capture` for one test.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Unpack

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from .applications import INSTALLED
from .http.options import RequestChoices
from .runtime import Telemetry
from .settings import TelemetrySettings

Series = tuple[str, frozenset[tuple[str, str]]]


class _Recorder(SpanProcessor):
    """Keeps the spans that end until it is closed; a telemetry that is shut down and started anew is the same to it."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []
        self._lock = threading.Lock()
        self.closed = False

    def on_end(self, span: ReadableSpan) -> None:
        if not self.closed:
            with self._lock:
                self._spans.append(span)

    def spans(self) -> list[ReadableSpan]:
        with self._lock:
            return list(self._spans)


class _Watched:
    """A telemetry, its spans and how much its counters had counted before."""

    def __init__(self, telemetry: Telemetry, recorder: _Recorder) -> None:
        self._telemetry = telemetry
        self._before: dict[Series, float] = {}
        self.recorder = recorder

    def begin(self) -> None:
        self._before = {series: value for series, value, grows in self._read() if grows}

    def metrics(self) -> dict[Series, float]:
        return {series: value - self._before.get(series, 0) for series, value, _ in self._read()}

    def _read(self) -> Iterator[tuple[Series, float, bool]]:
        body, _ = self._telemetry.exposition()
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                yield (sample.name, frozenset(sample.labels.items())), sample.value, family.type != "gauge"


class Capture:
    """A running `Telemetry` and what it recorded, with that of the applications that it is attached to.

    Attributes:
        telemetry: it.
    """

    def __init__(self, telemetry: Telemetry, recorder: _Recorder, ending: ExitStack) -> None:
        self.telemetry = telemetry
        self._watched = [_Watched(telemetry, recorder)]
        self._ending = ending

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that ended so far, in the order of their ends."""
        found = [span for watched in self._watched for span in watched.recorder.spans()]
        return sorted(found, key=lambda span: span.end_time or 0) if len(self._watched) > 1 else found

    def metrics(self) -> dict[Series, float]:
        """Return each series that ``/metrics`` shows now: its name and labels, and its value.

        What an application had counted before `attach` is taken away.
        """
        total: dict[Series, float] = {}
        for watched in self._watched:
            for series, value in watched.metrics().items():
                total[series] = total.get(series, 0) + value
        return total

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of the series of this name that have these labels among theirs; None for no series."""
        wanted = labels.items()
        found = [value for (series, has), value in self.metrics().items() if series == name and wanted <= has]
        return sum(found) if found else None

    def attach(self, app: Starlette | Telemetry) -> "Capture":
        """See from now on what an application does whose telemetry was installed before, until the capture ends.

        Every trace is recorded meanwhile, whatever the settings say. It does not matter how often the application's
        lifespan runs, or whether it runs.

        Args:
            app: the application; or its telemetry.

        Returns:
            This.

        Raises:
            RuntimeError: the application has no telemetry, or one that records nothing.
        """
        telemetry: Telemetry | None = app if isinstance(app, Telemetry) else getattr(app.state, INSTALLED, None)
        if telemetry is None:
            raise RuntimeError("the application has no telemetry: give it one with Telemetry(...).install(app)")
        if telemetry.settings.sdk_disabled:
            raise RuntimeError("the application's telemetry records nothing: OTEL_SDK_DISABLED is set")
        recorder = self._ending.enter_context(_recording(telemetry))
        watched = _Watched(telemetry, recorder)
        watched.begin()
        self._watched.append(watched)
        return self


@contextmanager
def capture(settings: TelemetrySettings | None = None, **requests: Unpack[RequestChoices]) -> Iterator[Capture]:
    """Run a `Telemetry` that keeps everything in memory.

    Args:
        settings: what to run it with; None records every trace of a service called ``test``.
        requests: what `Telemetry` takes besides: ``exclude``, ``labels``, ``buckets`` and hooks.
    """
    recorder = _Recorder()
    chosen = settings or TelemetrySettings(service_name="test", worker="test-0", sampler="parentbased_always_on")
    telemetry = Telemetry(
        replace(chosen, otlp=None, otlp_metrics=None),
        set_global=False,
        strict=True,
        span_processors=[recorder],
        **requests,
    )
    with telemetry, ExitStack() as ending:
        yield Capture(telemetry, recorder, ending)


@contextmanager
def _recording(telemetry: Telemetry) -> Iterator[_Recorder]:
    """Keep every span of a telemetry while the block lasts."""
    recorder = _Recorder()
    add_span_processor = getattr(telemetry.tracer_provider, "add_span_processor", None)
    if add_span_processor is None:
        raise RuntimeError("the application's tracer provider takes no span processors: it is not the SDK's")
    add_span_processor(recorder)
    before = telemetry.sample_with(ALWAYS_ON)
    try:
        yield recorder
    finally:
        telemetry.sample_with(before)
        recorder.closed = True
        telemetry.remove_span_processor(recorder)
