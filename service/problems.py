"""The one table of problems: every error that reaches a caller, with its stable `code` (RFC 9457)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, Field


class Kind(NamedTuple):
    """The fixed part of a problem."""

    status: int
    title: str


PROBLEMS: Mapping[str, Kind] = {
    "bad_request": Kind(400, "The request cannot be understood"),
    "unauthorized": Kind(401, "Who are you?"),
    "admin_disabled": Kind(403, "Admin routes are switched off"),
    "origin_refused": Kind(403, "Pages of this origin may not watch"),
    "ticket_required": Kind(403, "The product is sold by ticket, and the order shows none"),
    "ticket_invalid": Kind(403, "The ticket is not one of this user for this sale"),
    "not_found": Kind(404, "There is no such resource"),
    "unknown_product": Kind(404, "There is no such product"),
    "unknown_order": Kind(404, "There is no such order"),
    "method_not_allowed": Kind(405, "The resource does not take this method"),
    "not_acceptable": Kind(406, "The resource has none of the forms that are accepted"),
    "request_timeout": Kind(408, "The request did not arrive in time"),
    "sold_out": Kind(409, "Not enough units are left"),
    "limit_exceeded": Kind(409, "The limit per user is reached"),
    "sale_not_open": Kind(409, "The sale has not opened yet"),
    "sale_closed": Kind(409, "The sale is over"),
    "sale_paused": Kind(409, "The sale is paused"),
    "not_your_turn": Kind(409, "The turn of the ticket has not come"),
    "no_ticket_needed": Kind(409, "The product is not sold by ticket"),
    "not_a_dead_letter": Kind(409, "The order was not given up, or is dealt with already"),
    "not_refundable": Kind(409, "The order is not confirmed, or fewer units are left to refund"),
    "not_cancellable": Kind(409, "The order can no longer be cancelled"),
    "has_open_orders": Kind(409, "Orders hold some of it"),
    "stock_below_sold": Kind(409, "More units are held and sold than would be on sale"),
    "cursor_expired": Kind(410, "What comes after the cursor is no longer kept"),
    "changed_meanwhile": Kind(412, "The product is no longer as If-Match says"),
    "payload_too_large": Kind(413, "The body is too large"),
    "uri_too_long": Kind(414, "The address is too long"),
    "unsupported_media_type": Kind(415, "The body must be application/json"),
    "host_refused": Kind(421, "The service does not go by this name"),
    "invalid": Kind(422, "The request is not valid"),
    "idempotency_conflict": Kind(422, "The idempotency key belongs to another request"),
    "upgrade_required": Kind(426, "The resource is a WebSocket"),
    "rate_limited": Kind(429, "Too many orders"),
    "headers_too_large": Kind(431, "The headers are too many or too large"),
    "internal_error": Kind(500, "The service made a mistake"),
    "not_implemented": Kind(501, "The service does not do this"),
    "overloaded": Kind(503, "The service has as much to do as it can"),
    "store_unavailable": Kind(503, "The store does not answer"),
    "version_not_supported": Kind(505, "The service speaks another version of HTTP"),
}


class FieldProblem(BaseModel):
    """What is wrong with one field of the request."""

    location: str = Field(description="`body`, `header`, `path` or `query`")
    pointer: str = Field(description="JSON Pointer (RFC 6901) into that part, as a URI fragment: `#/quantity`")
    detail: str


class ProblemDetails(BaseModel):
    """A problem as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    trace_id: str | None = Field(description="finds the request's trace and log lines")
    errors: list[FieldProblem] = []


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An answer that is not what the caller hoped for. `counted`: the ledger has counted the refusal already."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        counted: bool = False,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.counted = counted
        self.kind = PROBLEMS[code]
        self.errors = list(errors)
        self.detail = detail or "; ".join(_say(field) for field in self.errors[:3]) or self.kind.title
        self.headers = dict(headers or {})


def _say(field: FieldProblem) -> str:
    return f"{field.location} {field.pointer}: {field.detail}"
