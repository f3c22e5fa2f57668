"""Pages of other origins that may use the API, as `CORS_ORIGINS` names them; without it there is no such layer."""

from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from service.api.errors import respond
from service.problems import Problem

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = (
    *("authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "last-event-id", "sale-ticket"),
    *("traceparent", "tracestate", "baggage"),
)
ANSWER_HEADERS = (
    *("Date", "Deprecation", "ETag", "Idempotency-Replayed", "Location", "RateLimit", "RateLimit-Policy"),
    *("Retry-After", "WWW-Authenticate"),
)
PREFLIGHT_SECONDS = 600


class CorsMiddleware(CORSMiddleware):
    """Starlette's, which tells of a refused preflight as the API tells of everything.

    No credentials are allowed: the API knows no cookie, and who sends a token sends it in a header.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
            max_age=PREFLIGHT_SECONDS,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer what a browser asks before it sends a request."""
        response = super().preflight_response(request_headers)
        if response.status_code == HTTPStatus.OK:
            return response
        refused = respond(Problem("bad_request", f"{bytes(response.body).decode()}: see CORS_ORIGINS."))
        refused.headers.update({n: v for n, v in response.headers.items() if not n.startswith("content-")})
        return refused
