"""What a `Telemetry` does for applications: it intercepts their requests, runs with them and answers `/metrics`."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from opentelemetry import metrics, trace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from ._extras import needs
from .export.termination import before_termination
from .export.without_lifespan import BEGIN_SECONDS, run_until_exit
from .host import environment_beside_host
from .http import installation
from .http import instrumentation as interceptor
from .http.first_request import before_first_request
from .http.options import RequestChoices, RequestOptions
from .http.parts import Parts
from .http.request_metrics import RequestListener
from .http.semantics import INSIDE, Scope
from .prometheus.responses import respond
from .prometheus.server import metrics_server
from .settings import TelemetrySettings

if TYPE_CHECKING:
    import httpx
    from fastapi.telemetry import TelemetryConfig

INSTALLED = "truemeter"
"""In the state of an application: the telemetry that is installed in it."""
_logger = logging.getLogger(__name__)


class ApplicationTelemetry(ABC):
    """The half of `telemetry.Telemetry` that knows of applications.

    Args:
        settings: the settings, or a service's name, of which the rest is read from the environment.
        requests: what is chosen for its requests.

    Attributes:
        settings: the settings.
    """

    def __init__(self, settings: TelemetrySettings | str, requests: RequestChoices) -> None:
        self._options = RequestOptions(**requests)
        if isinstance(settings, str):
            settings = TelemetrySettings.from_env(environment_beside_host(os.environ), service_name=settings)
        self.settings = replace(settings, excluded_urls=(*settings.excluded_urls, *self._options.exclude))
        self._listener: RequestListener | None = None
        self._runs = 0

    @abstractmethod
    def start(self) -> None:
        """Begin to export spans."""

    @abstractmethod
    def shutdown(self) -> bool:
        """Export what is left, and stop."""

    @abstractmethod
    def _flush(self) -> None:
        """Export what there is by now; may wait for the collector."""

    @property
    @abstractmethod
    def _has_started(self) -> bool:
        """Whether it was started, and may be shut down since."""

    @property
    @abstractmethod
    def tracer_provider(self) -> trace.TracerProvider:
        """Where this process's tracers come from."""

    @property
    @abstractmethod
    def meter_provider(self) -> metrics.MeterProvider:
        """Where the instruments of this process come from; their series carry ``worker``."""

    @abstractmethod
    async def exposition_of_all(self, accept: str | None = None) -> tuple[bytes, str]:
        """Give the answer to ``GET /metrics``."""

    @abstractmethod
    def serving_peers(self) -> AbstractAsyncContextManager[None]:
        """Let peers ask for this process's series while the block lasts."""

    @abstractmethod
    def _answered_group(self) -> str:
        """Return what tells for which processes that answer is."""

    @abstractmethod
    def _parts(self) -> Parts: ...

    def install(self, app: Starlette, *, metrics_path: str | None = "/metrics") -> None:
        """Do all that an application needs: its requests, its lifespan and ``GET /metrics``.

        Each request gets one server span and two metrics, with no code in any handler. The telemetry starts before the
        application's own lifespan and ends after it; where nobody runs that, it starts with the first request. Call it
        before the application serves; a second call does nothing. Several applications may have one telemetry: it ends
        with the last of them.

        Args:
            app: an application of FastAPI's or Starlette's. FastAPI's own telemetry in it is set as is needed.
            metrics_path: where the metrics are; None for nowhere.

        Raises:
            TypeError: it is no application of FastAPI's or Starlette's; a middleware around one is none.
            RuntimeError: the application has served a request, is instrumented by somebody else, or has a route of that
                path; the message is one line that says what to do.
        """
        installation.refuse_other_things(app)
        if getattr(app.state, INSTALLED, None) is self:
            return
        parts = self._parts()
        interceptor.refuse_wrong_states(app, parts)
        if metrics_path is not None:
            installation.refuse_taken_path(app, metrics_path)
            parts = parts.without(metrics_path)
        interceptor.install(app, parts)
        if metrics_path is not None:
            installation.add_metrics_route(app, metrics_path, self.scrape)
        installation.wrap_lifespan(app, self.running)
        before_first_request(app, self._run_without_lifespan)
        setattr(app.state, INSTALLED, self)

    def instrument(self, app: Starlette) -> None:
        """Intercept every request of an application, and nothing else of what `install` does.

        Raises:
            RuntimeError: the app was built without `fastapi_config`, has served a request, or is instrumented by
                somebody else.
        """
        interceptor.instrument(app, self._parts())

    def fastapi_config(self) -> "TelemetryConfig":
        """Return what to build an application with: ``FastAPI(telemetry=telemetry.fastapi_config())``."""
        return interceptor.fastapi_config(self._parts())

    def on_request(self, listener: RequestListener) -> None:
        """Have `listener` told of each request that the interceptor measures; call it before the others."""
        self._listener = listener

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run while the block lasts: for a lifespan of one's own. Inside another such block it does nothing."""
        if self._runs:
            self._runs += 1
            try:
                yield
            finally:
                await self._end_run()
            return
        self.start()
        self._runs = 1
        with before_termination(self.shutdown):
            try:
                async with self.serving_peers(), self._serving_metrics():
                    yield
            finally:
                await self._end_run()

    async def _run_without_lifespan(self, scope: Scope) -> None:
        if self._has_started or self.settings.sdk_disabled:
            return
        if INSIDE in scope:
            _logger.warning(
                "requests are measured by the application that this one is mounted in, and not by the telemetry of %s: "
                "give both to one Telemetry",
                self.settings.service_name,
            )
        _logger.warning(
            "nobody ran the application's lifespan: the telemetry of %s starts with its first request, and what ends "
            "in the last moments of this process may not be sent; run the server with its lifespan on",
            self.settings.service_name,
        )
        self.start()
        begun = run_until_exit(self.running, self._flush, self.shutdown)
        await anyio.to_thread.run_sync(begun.wait, BEGIN_SECONDS)  # the first request may be a scrape, of all processes

    def _serving_metrics(self) -> AbstractAsyncContextManager[None]:
        settings = self.settings
        answer = partial(respond, self.exposition_of_all)
        return metrics_server(settings.metrics_address, settings.service_name, self._answered_group, answer)

    async def _end_run(self) -> None:
        self._runs -= 1
        if not self._runs:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self.shutdown)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Be an application's whole lifespan, when it has no other: ``FastAPI(lifespan=telemetry.lifespan)``."""
        async with self.running():
            yield

    def instrument_client(self, client: "httpx.AsyncClient | httpx.Client") -> None:
        """Give each request of an HTTP client a client span, and its trace context to the server."""
        with needs("httpx"):
            from .traces.client_spans import instrument_client  # noqa: PLC0415 - only where it is asked for

        instrument_client(client, self.tracer_provider, self.meter_provider)

    async def scrape(self, request: Request) -> Response:
        """Answer ``GET /metrics``: ``app.add_route("/metrics", telemetry.scrape)``.

        In the format and the encoding that the request prefers, and of the families that it names (``?name[]=``).
        """
        names = request.query_params.getlist("name[]")
        body, headers = await respond(self.exposition_of_all, request.headers, names)
        return Response(body, headers=headers)
