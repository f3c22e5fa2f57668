"""Errors are answers: every one is `application/problem+json` (RFC 9457) with a stable `code`.

`PROBLEMS` is the one table of codes. Routes raise `Problem`; `ErrorHandlers` turns problems, validation errors, unknown
routes, a store that is down and crashes into the same shape, each with the trace id that finds it again.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from opentelemetry.trace import get_current_span
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope, Send

from service.api.strict_json import MAX_NAME_LENGTH
from service.problems import PROBLEMS, FieldProblem, Problem
from service.store import is_store_down

MEDIA_TYPE = "application/problem+json"
RETRY_STORE_SECONDS = 1
_BY_STATUS = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "invalid",
    503: "overloaded",
}


def respond(problem: Problem) -> Response:
    """Make the answer."""
    return Response(_body(problem), status_code=problem.kind.status, headers=problem.headers, media_type=MEDIA_TYPE)


async def send_problem(problem: Problem, send: Send) -> None:
    """Answer as `respond` does, from an ASGI layer that has no use for a response object."""
    body = _body(problem)
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", MEDIA_TYPE.encode())]
    headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in problem.headers.items()]
    await send({"type": "http.response.start", "status": problem.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def raw_answer(problem: Problem, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Make an answer as it goes over the wire, the last of its connection; `fields` go before the problem's own."""
    body = _body(problem)
    own = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close", **problem.headers}
    lines = [f"HTTP/1.1 {problem.kind.status} {HTTPStatus(problem.kind.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in fields]
    lines += [f"{name.lower()}: {value}".encode("latin-1") for name, value in own.items()]
    return b"\r\n".join([*lines, b"", body])


def _body(problem: Problem) -> bytes:
    """Return the problem as `ProblemDetails` describes it."""
    span_context = get_current_span().get_span_context()
    trace_id = b'"%032x"' % span_context.trace_id if span_context.is_valid else b"null"
    errors = b',"errors":' + to_json(problem.errors) if problem.errors else b""
    return _beginning(problem.code, problem.detail) + trace_id + errors + b"}"


@lru_cache(maxsize=256)
def _beginning(code: str, detail: str) -> bytes:
    """All up to the trace id: most problems of a busy sale are alike."""
    kind = PROBLEMS[code]
    members = {"type": f"urn:flash-sale:problem:{code}", "title": kind.title, "status": kind.status}
    return to_json({**members, "detail": detail, "code": code, "trace_id": None}).removesuffix(b"null}")


RATE_LIMIT_HEADERS: dict[str, Any] = {
    "RateLimit-Policy": {
        "description": 'where orders are limited: each limit\'s name, quota and window in seconds, `"user";q=5;w=1`',
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'how many orders are left of each, and in how many seconds it is whole again, `"user";r=4;t=1`',
        "schema": {"type": "string"},
    },
}
"""What answers to `POST /orders` say of the limits on orders (draft-ietf-httpapi-ratelimit-headers)."""


def describe(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route in OpenAPI, for the codes that it may answer with."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = PROBLEMS[code]
        entry = by_status.setdefault(
            kind.status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
            },
        )
        entry["description"] += f"{', ' if entry['description'] else ''}`{code}`: {kind.title}"
        if kind.status in (429, 503):
            entry["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
        if kind.status == HTTPStatus.TOO_MANY_REQUESTS:
            entry["headers"] |= RATE_LIMIT_HEADERS
    return by_status


OnProblem = Callable[[Scope, Problem], None]


ErrorHandler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


class ErrorHandlers:
    """Make every error of an application a problem, and tell `on_problem` of each."""

    def __init__(self, on_problem: OnProblem) -> None:
        self._on_problem = on_problem
        self._log = structlog.get_logger("service.api.errors")

    def by_type(self) -> dict[int | type[Exception], ErrorHandler]:
        """Return the `exception_handlers` of a FastAPI application: for whatever is raised on purpose."""
        return dict.fromkeys((Problem, HTTPException, RequestValidationError), self.refuse)

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Answer an error that was raised on purpose, or a store that is down."""
        return self._answer(request, _as_problem(request, error))

    async def crash(self, request: Request, error: Exception) -> Response:
        """Answer an error that nobody expected: 500 `internal_error`, unless it is the store's."""
        if is_store_down(error):
            return await self.refuse(request, error)
        get_current_span().record_exception(error)
        self._log.error("request failed", route=request.url.path, method=request.method, exc_info=error)
        problem = Problem("internal_error", "The service made a mistake; it has been written down.")
        problem.__cause__ = error
        return self._answer(request, problem)

    def _answer(self, request: Request, problem: Problem) -> Response:
        self._on_problem(request.scope, problem)
        return respond(problem)


def _as_problem(request: Request, error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        code = _BY_STATUS.get(error.status_code, "bad_request")
        headers = {"Allow": _allowed(request)} if code == "method_not_allowed" else error.headers
        return Problem(code, str(error.detail), headers=headers)
    if isinstance(error, RequestValidationError):
        return _invalid(request, error)
    problem = Problem(
        "store_unavailable",
        "The store does not answer; an order sent with an Idempotency-Key is safe to send again.",
        headers={"Retry-After": str(RETRY_STORE_SECONDS)},
    )
    problem.__cause__ = error
    return problem


def route_of(scope: Scope) -> str:
    """Return the template of the request's route; '' if none matches."""
    for route in iter_route_contexts(scope["app"].routes):
        if route.matches(scope)[0] is Match.FULL:
            return route.path_format or ""
    return ""


def _allowed(request: Request) -> str:
    """Return the methods of all routes of this path; the framework names those of the first."""
    # What is not documented and cannot be read either is there to refuse a method.
    routes = [
        route
        for route in iter_route_contexts(request.app.routes)
        if route.methods and ("GET" in route.methods or route.include_in_schema)
    ]
    path = next((route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE), None)
    methods = {method for route in routes if route.path == path for method in route.methods or ()}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _invalid(request: Request, error: RequestValidationError) -> Problem:
    found = [_field_problem(entry) for entry in error.errors()]
    whole_body = any(field.location == "body" and field.pointer == "#" for field in found)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()[:MAX_NAME_LENGTH]
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    if whole_body and has_body and media_type != "application/json" and not media_type.endswith("+json"):
        return Problem("unsupported_media_type", f"The body's type is {media_type or 'not given'!r}.", errors=found)
    return Problem("invalid", errors=found[:20])


def _field_problem(entry: Mapping[str, Any]) -> FieldProblem:
    location, *path = entry["loc"]
    if entry["type"] == "json_invalid":
        return FieldProblem(location="body", pointer="#", detail=f"not JSON: {entry['ctx']['error']} at {path[0]}")
    detail = entry["msg"].removeprefix("Value error, ")
    return FieldProblem(location=str(location), pointer="/".join(["#", *map(_token, path)]), detail=detail)


def _token(part: str | int) -> str:
    """One step of a pointer; a name that the caller made up is not repeated at any length."""
    return quote(str(part)[:MAX_NAME_LENGTH].replace("~", "~0").replace("/", "~1"))
