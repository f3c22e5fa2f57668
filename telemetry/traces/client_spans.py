"""Spans of HTTP clients without the secrets of their URLs: hooks for opentelemetry-instrumentation-httpx."""

from opentelemetry.instrumentation.httpx import RequestInfo
from opentelemetry.trace import Span

from ..redaction import redact_url


def redact_request(span: Span, request: RequestInfo) -> None:
    """Blank what the URL of a request holds in its span."""
    if span.is_recording():
        span.set_attribute("url.full", redact_url(str(request.url)))


async def aredact_request(span: Span, request: RequestInfo) -> None:
    """Do the same for an asynchronous client."""
    redact_request(span, request)
