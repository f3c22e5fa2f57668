"""Headers as attributes of server spans, where OpenTelemetry's variables ask for them: alike under every interceptor.

``OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST`` and ``..._RESPONSE`` are lists of patterns. The value of a
header that is named by ``..._SANITIZE_FIELDS``, or that holds a secret by its name, is ``[REDACTED]``.
"""

from collections.abc import Callable
from typing import Any

from opentelemetry.instrumentation.asgi import collect_custom_headers_attributes
from opentelemetry.trace import Span
from opentelemetry.util.http import (
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS,
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST,
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE,
    SanitizeValue,
    get_custom_headers,
    normalise_request_header_name,
    normalise_response_header_name,
)
from starlette.types import Message, Send

from ..otel_variables import SECRET_HEADERS
from .semantics import Scope


class CapturedHeaders:
    """What the environment asks for, read once.

    Attributes:
        request: patterns of request headers.
        response: patterns of response headers.
        sanitized: patterns of those whose values are not shown.
    """

    def __init__(self) -> None:
        self.request = get_custom_headers(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST)
        self.response = get_custom_headers(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE)
        asked = get_custom_headers(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS)
        self.sanitized = list(dict.fromkeys([*asked, *SECRET_HEADERS]))
        self._sanitize = SanitizeValue(self.sanitized)

    def for_contrib(self) -> dict[str, Any]:
        """Return them as the arguments of OpenTelemetry's instrumentations."""
        names = ("server_request", "server_response", "sanitize_fields")
        lists = (self.request, self.response, self.sanitized)
        return {f"http_capture_headers_{name}": patterns for name, patterns in zip(names, lists, strict=True)}

    def record_request(self, span: Span, scope: Scope) -> None:
        """Put those of a request on its span."""
        _set(span, self.of_request(scope))

    def recording(self, span: Span, send: Send) -> Send:
        """Return what sends an answer, and puts its headers on the span of its request."""
        if not self.response:
            return send

        async def recorded(message: Message) -> None:
            if "headers" in message:
                _set(span, self.of_response(message))
            await send(message)

        return recorded

    def of_request(self, scope: Scope) -> dict[str, list[str]]:
        """Return the attributes that those of a request make."""
        return self._attributes(scope, self.request, normalise_request_header_name)

    def of_response(self, message: Message) -> dict[str, list[str]]:
        """Return the attributes that those of an answer make, from the message that begins it."""
        return self._attributes(message, self.response, normalise_response_header_name)

    def _attributes(self, carrier: Any, patterns: list[str], normalise: Callable[[str], str]) -> dict[str, list[str]]:  # noqa: ANN401 - a scope or a message
        if not patterns:
            return {}
        try:
            return collect_custom_headers_attributes(carrier, self._sanitize, patterns, normalise)
        except UnicodeError:  # it decodes all headers, one of which has odd bytes
            return {}


def _set(span: Span, attributes: dict[str, list[str]]) -> None:
    for name, values in attributes.items():
        span.set_attribute(name, values)
