"""A real OTLP/HTTP receiver on a loopback port, which answers, refuses or hangs."""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.truth.otlp import otlp_receiver

HANG_SECONDS = 60
Mode = Literal["answer", "refuse", "hang"]


class Collector:
    """Keeps what it was sent: spans in `requests`, log lines in `log_requests`, metrics in `metric_requests`.

    In mode `hang` it reads requests and never answers until it is closed; in mode `refuse` it answers 503.
    """

    def __init__(self, mode: Mode = "answer") -> None:
        self.mode = mode
        self.requests: list[ExportTraceServiceRequest] = []
        self.log_requests: list[ExportLogsServiceRequest] = []
        self.metric_requests: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="collector")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = int(self._listener.getsockname()[1])
        self._runner = web.AppRunner(otlp_receiver(self._receive), access_log=None, shutdown_timeout=0.1)

    @property
    def endpoint(self) -> str:
        """The value for `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return f"http://127.0.0.1:{self._port}"

    def spans(self) -> list[Span]:
        """Every span received so far."""
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def logs(self) -> list[tuple[str, LogRecord]]:
        """Every log line received so far, with the name of its logger."""
        return [
            (scope.scope.name, record)
            for request in list(self.log_requests)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def resource(self) -> dict[str, str]:
        """The attributes of the resource that sent the first spans."""
        return {
            attribute.key: attribute.value.string_value
            for attribute in self.requests[0].resource_spans[0].resource.attributes
        }

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait_for(self._serve())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait_for(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _receive(self, signal: str, body: bytes, headers: Mapping[str, str]) -> int:
        self.headers.append(dict(headers))
        if self.mode == "hang":
            await asyncio.sleep(HANG_SECONDS)  # or until `cleanup` cuts it off
        if self.mode != "answer":
            return HTTPStatus.SERVICE_UNAVAILABLE
        if signal == "logs":
            self.log_requests.append(ExportLogsServiceRequest.FromString(body))
        elif signal == "metrics":
            self.metric_requests.append(ExportMetricsServiceRequest.FromString(body))
        else:
            assert signal == "traces"
            self.requests.append(ExportTraceServiceRequest.FromString(body))
        return HTTPStatus.OK
