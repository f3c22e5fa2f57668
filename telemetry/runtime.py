"""`Telemetry` owns the telemetry of one process, from start to a shutdown that is bounded in time.

Two meter providers feed one ``/metrics``: the series of the *process* provider carry the label ``worker``,
those of the *fleet* provider do not. Providers are passed to whoever needs them; `Telemetry.start` also makes
them the global ones, unless it is told not to. Spans leave by OTLP when an endpoint is set; otherwise none is
recorded. So do log lines, from `telemetry.logs.configuration`.

uvicorn runs the lifespan's shutdown on SIGTERM and then raises the signal again, so ``atexit`` never runs:
call `Telemetry.shutdown` in the lifespan.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.telemetry import TelemetryConfig
from opentelemetry import metrics, propagate, trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry

from . import providers
from .export.delivery import FAILURES, Failed, GuardedProcessor, Health, Outlet, SpanDelivery, drain
from .http import instrumentation as interceptor
from .http.duration_listener import Listener
from .http.head_sampling import Decided, DecidedIds, Entry
from .http.late_spans import AFTERWARDS, Afterwards, AfterwardsWriter, GivenIds, RateLimit
from .logs import configuration as logs
from .logs.otlp import LogSink
from .metrics.exemplars import ExportedTraces
from .metrics.instruments import Counter, Histogram, Instruments, Read, UpDownCounter
from .metrics.specs import CounterSpec, GaugeSpec, HistogramSpec, UpDownCounterSpec
from .prometheus.content_negotiation import negotiate
from .prometheus.endpoint import Exposition
from .prometheus.multiprocess import UNREACHABLE, Siblings, merge
from .settings import TelemetrySettings
from .traces.sampling import SAMPLING_RATIO, make_sampler

SHUTDOWN_SECONDS = 3.0


class Telemetry:
    """The telemetry of one process; a context manager.

    Instruments, tracers and `instrument` may be used once it is constructed; spans are exported from `start`
    on.

    Args:
        settings: what to do.
        set_global: whether `start` makes the providers OpenTelemetry's global ones.
        strict: whether an observation that does not match its declaration is an error; for tests.
        span_processors: further destinations of finished spans.

    Attributes:
        fleet_exporter: whether this process exports the fleet's series now; may be set at any time.
    """

    def __init__(
        self,
        settings: TelemetrySettings,
        *,
        set_global: bool = True,
        strict: bool = False,
        span_processors: Sequence[SpanProcessor] = (),
    ) -> None:
        self.settings = settings
        self.fleet_exporter = True
        self._set_global = set_global
        self._span_processors = span_processors
        self._delivery: SpanDelivery | None = None
        self._listener: Listener | None = None
        self._started = False
        self._stopped = False
        interceptor.use_stable_conventions()
        counts = providers.have_the_sdk_count()
        resource = providers.make_resource(settings)
        self._exposition = Exposition(settings.worker, exports_fleet=lambda: self.fleet_exporter)
        self._exported = ExportedTraces() if settings.otlp is not None else None
        self._process = providers.process_meter_provider(resource, self._exposition.process, self._exported)
        self._fleet = providers.fleet_meter_provider(resource, self._exposition.fleet)
        sampler, budget = make_sampler(settings, recording=settings.otlp is not None or bool(span_processors))
        self._processors = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
        self._tracers = providers.tracer_provider(
            Decided(sampler), resource, self._processors, self._process, DecidedIds()
        )
        meters, joins = self._process if counts else None, settings.interceptor == "contrib"
        self._entry = Entry(sampler, meters, settings.excluded_paths, joins=joins)
        self._instruments = Instruments(self.meter_provider, self._off_or(self._fleet), strict=strict)
        failures = self.counter(FAILURES)
        self._failed: Failed = lambda part: failures.add(1, {"part": part})
        self._strict = strict
        self._afterwards = self._make_afterwards(resource) if budget is not None else None
        self._logs = self._make_logs(resource)
        self._siblings = self._make_siblings(settings.socket_dir) if settings.socket_dir is not None else None
        if budget is not None:
            self.observe(SAMPLING_RATIO, lambda: [(budget.ratio, {})])

    def _make_afterwards(self, resource: Resource) -> Afterwards:
        spans = self.counter(AFTERWARDS)
        ids = GivenIds()
        writer = AfterwardsWriter(
            providers.tracer_provider(ALWAYS_ON, resource, self._processors, self._process, ids),
            ids,
            RateLimit(self.settings.afterwards_per_second),
            lambda written: spans.add(1, {"result": "written" if written else "left_out"}),
        )
        return Afterwards(writer, self.settings.slow_seconds)

    def _make_logs(self, resource: Resource) -> LogSink | None:
        settings = self.settings
        if settings.otlp_logs is None or not self._set_global or settings.sdk_disabled:
            return None
        sink = LogSink(settings.otlp_logs, settings.log_batch, resource, self._process, self._failed)
        logs.share_with(sink.take)
        return sink

    def _make_siblings(self, directory: Path) -> Siblings:
        missed = self.counter(UNREACHABLE)
        return Siblings(directory, self.settings.worker, self._exposition.render_own, lambda _: missed.add(1))

    @property
    def tracer_provider(self) -> trace.TracerProvider:
        """Where this process's tracers come from."""
        return trace.NoOpTracerProvider() if self.settings.sdk_disabled else self._tracers

    @property
    def meter_provider(self) -> metrics.MeterProvider:
        """Where the instruments of this process come from; their series carry ``worker``."""
        return self._off_or(self._process)

    @property
    def registry(self) -> CollectorRegistry:
        """Everything that ``/metrics`` shows now."""
        return self._exposition.registry

    @property
    def collectors(self) -> dict[str, Health]:
        """What is known of the collector behind each pipeline that exports: of `spans`, of `log lines`."""
        found = {"spans": self._delivery, "log lines": self._logs.delivery if self._logs else None}
        return {name: delivery.health for name, delivery in found.items() if delivery is not None}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    def start(self) -> None:
        """Begin to export spans, and become global; a second call does nothing."""
        if self._started:
            return
        self._started = True
        if not self.settings.sdk_disabled:
            for processor in self._span_processors:
                self._processors.add_span_processor(GuardedProcessor(processor, self._failed, strict=self._strict))
            if self.settings.otlp is not None:
                exporter = providers.span_exporter(self.settings.otlp, self._process, self._exported)
                self._delivery = SpanDelivery(exporter)
                self._delivery.failed = self._failed
                queue = providers.span_processor(self._delivery, self.settings.batch, self._process)
                self._processors.add_span_processor(GuardedProcessor(queue, self._failed, strict=self._strict))
            if self._logs is not None:
                self._logs.start()
        if self._set_global:
            trace.set_tracer_provider(self.tracer_provider)
            metrics.set_meter_provider(self.meter_provider)
            if not self.settings.keep_propagators:
                propagate.set_global_textmap(TraceContextTextMapPropagator())

    def shutdown(self, timeout: float = SHUTDOWN_SECONDS) -> bool:
        """Export the spans and log lines that are left, and stop; a second call does nothing.

        Blocks for up to ``timeout`` seconds, and only while the collector does not answer: in an event loop,
        call it in a thread. A collector that took nothing before is given less, see `telemetry.export.delivery.drain`.

        Returns:
            Whether everything was handed over in time.
        """
        if self._stopped:
            return True
        self._stopped = True
        outlets = [Outlet("spans", self._tracers.shutdown, self._delivery)]
        if self._logs is not None:
            outlets.append(Outlet("log lines", self._logs.stop, self._logs.delivery))
        drained = drain(outlets, timeout)
        if self._logs is not None:
            self._logs.end(collector_answers=drained and self._started)
        self._process.shutdown()
        self._fleet.shutdown()
        return drained

    def tracer(self, name: str) -> trace.Tracer:
        """A tracer; ``name`` is the module that makes the spans."""
        return self.tracer_provider.get_tracer(name)

    def counter(self, spec: CounterSpec) -> Counter:
        """The counter of a spec; with closed sets of attributes it exists at 0 from now on."""
        return self._instruments.counter(spec)

    def up_down_counter(self, spec: UpDownCounterSpec) -> UpDownCounter:
        """The up-down counter of a spec; with closed sets of attributes it exists at 0 from now on."""
        return self._instruments.up_down_counter(spec)

    def histogram(self, spec: HistogramSpec) -> Histogram:
        """The histogram of a spec."""
        return self._instruments.histogram(spec)

    def observe(self, spec: CounterSpec | UpDownCounterSpec | GaugeSpec, read: Read) -> None:
        """Read a counter or a gauge at each scrape.

        Args:
            spec: what the values are.
            read: gives pairs of a value and its attributes. It reads memory only and returns at once. A
                series that it does not give is not exported: no stale value, and never a false 0.
        """
        self._instruments.observe(spec, read)

    def exposition(self, accept: str | None = None) -> tuple[bytes, str]:
        """The body and the content type of an answer to ``GET /metrics``.

        Args:
            accept: the request's ``Accept`` header.
        """
        answer = self._exposition.render(accept)
        self._instruments.guard.reraise()
        return answer

    async def exposition_of_all(self, accept: str | None = None) -> tuple[bytes, str]:
        """The answer to ``GET /metrics`` for this process and every sibling in ``socket_dir``."""
        if self._siblings is None:
            return self.exposition(accept)
        async with self._siblings.asked(negotiate(accept).value) as answers:
            body, content_type = self.exposition(accept)
            return merge([body, *await answers()]), content_type

    @asynccontextmanager
    async def offered(self) -> AsyncIterator[None]:
        """Let siblings ask for this process's series while the block lasts; without a ``socket_dir``, nothing."""
        if self._siblings is None:
            yield
            return
        await self._siblings.start()
        try:
            yield
        finally:
            await self._siblings.stop()

    def instrument(self, app: FastAPI) -> None:
        """Intercept every request of an application: one server span, two metrics, no code in any handler.

        Raises:
            RuntimeError: the interceptor is ``native`` and the app was built without `fastapi_config`.
        """
        interceptor.instrument(app, self._parts())

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """An application's whole lifespan, when it has no other: ``FastAPI(lifespan=telemetry.lifespan)``."""
        self.start()
        try:
            async with self.offered():
                yield
        finally:
            await asyncio.to_thread(self.shutdown)

    async def scrape(self, request: Request) -> Response:
        """The endpoint of ``GET /metrics``: ``app.add_api_route("/metrics", telemetry.scrape)``."""
        body, content_type = await self.exposition_of_all(request.headers.get("accept"))
        return Response(body, headers={"content-type": content_type})

    def fastapi_config(self) -> TelemetryConfig:
        """What to build an application with: ``FastAPI(telemetry=telemetry.fastapi_config())``."""
        return interceptor.fastapi_config(self._parts())

    def listen(self, listener: Listener) -> None:
        """Have `listener` told of each request that the interceptor measures; call it before `fastapi_config`."""
        self._listener = listener

    def instrument_client(self, client: httpx.AsyncClient | httpx.Client) -> None:
        """Give each request of an HTTP client a client span, and its trace context to the server."""
        HTTPXClientInstrumentor.instrument_client(client, self.tracer_provider, self.meter_provider)

    def _parts(self) -> interceptor.Parts:
        return interceptor.Parts(
            self.settings, self.tracer_provider, self._process, self._listener, self._entry, self._afterwards
        )

    def _off_or(self, provider: metrics.MeterProvider) -> metrics.MeterProvider:
        return metrics.NoOpMeterProvider() if self.settings.sdk_disabled else provider
