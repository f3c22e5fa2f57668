"""A receiver of spans by OTLP over HTTP (protobuf), which counts them and keeps none."""

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.truth.otlp import otlp_receiver

STATUS = "http.response.status_code"
ORDER_STATUS = "flash_sale.order.status"


class SpanReceiver:
    """Listens on loopback while the block lasts; `port` 0 takes a free one.

    Attributes:
        served: server spans by name and HTTP status.
        processed: consumer spans by the status that their order reached.
        spans: all spans.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.served: Counter[tuple[str, int]] = Counter()
        self.processed: Counter[str] = Counter()
        self.spans = 0
        self._runner = web.AppRunner(otlp_receiver(self._receive), access_log=None)

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            OSError: The port cannot be had.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _receive(self, signal: str, body: bytes, _: Mapping[str, str]) -> int:
        if signal == "traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self._count(span)
        return HTTPStatus.OK

    def _count(self, span: Span) -> None:
        self.spans += 1
        if span.kind == Span.SPAN_KIND_SERVER:
            statuses = [pair.value.int_value for pair in span.attributes if pair.key == STATUS]
            self.served[span.name, statuses[0] if statuses else 0] += 1
        elif span.kind == Span.SPAN_KIND_CONSUMER:
            reached = [pair.value.string_value for pair in span.attributes if pair.key == ORDER_STATUS]
            self.processed[reached[0] if reached else ""] += 1
