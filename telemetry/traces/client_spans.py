"""Spans of HTTP clients, by opentelemetry-instrumentation-httpx, without the secrets of their URLs."""

import httpx
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor, RequestInfo
from opentelemetry.trace import Span

from ..redaction import redact_url


def redact_request(span: Span, request: RequestInfo) -> None:
    """Blank what the URL of a request holds in its span."""
    if span.is_recording():
        span.set_attribute("url.full", redact_url(str(request.url)))


async def aredact_request(span: Span, request: RequestInfo) -> None:
    """Do the same for an asynchronous client."""
    redact_request(span, request)


def instrument_client(
    client: httpx.AsyncClient | httpx.Client, tracers: trace.TracerProvider, meters: metrics.MeterProvider
) -> None:
    """Give each request of an HTTP client a client span, and its trace context to the server."""
    hook = aredact_request if isinstance(client, httpx.AsyncClient) else redact_request
    HTTPXClientInstrumentor.instrument_client(client, tracers, meters, request_hook=hook)
