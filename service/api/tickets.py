"""The route of tickets, for products that are sold by ticket."""

from datetime import datetime
from math import ceil
from typing import Self

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.auth import Shopper
from service.api.context import Context
from service.api.errors import RATE_LIMIT_HEADERS, describe
from service.api.orders import ProductId, UserId
from service.api.strict_json import StrictRoute
from service.ledger.tickets import Ticket
from service.problems import FieldProblem, Problem

router = APIRouter(tags=["inventory"], route_class=StrictRoute)


class TicketRequest(BaseModel):
    """Who wants a ticket. `user_id` may be left out only where a token names the shopper."""

    model_config = ConfigDict(extra="forbid")

    user_id: UserId | None = None


class TicketView(BaseModel):
    """A user's ticket as it stands now. Ask again to hear more: it stays the same ticket."""

    ticket: str = Field(description="send it as `Sale-Ticket` with the order")
    position: int | None = Field(description="from 1 on; null until the lot is drawn, which is when the sale opens")
    ahead: int | None = Field(description="how many before it have not had their turn; null until drawn")
    tickets: int = Field(description="how many were given in all")
    opens_at: datetime
    turn_in_seconds: int | None = Field(
        description="until its turn comes if nobody buys meanwhile, 0 when it has come; null until drawn"
    )

    @classmethod
    def of(cls, ticket: Ticket) -> Self:
        """Return the ticket as the ledger has it."""
        return cls(
            ticket=ticket.text,
            position=ticket.position,
            ahead=ticket.ahead,
            tickets=ticket.given,
            opens_at=ticket.opens_at,
            turn_in_seconds=None if ticket.wait is None else ceil(ticket.wait.total_seconds()),
        )


@router.post(
    "/inventory/{product_id}/tickets",
    status_code=201,
    responses={
        201: {"headers": RATE_LIMIT_HEADERS},
        **describe(
            *("bad_request", "unauthorized", "unknown_product", "no_ticket_needed", "sale_closed"),
            *("payload_too_large", "unsupported_media_type", "invalid"),
            *("rate_limited", "overloaded", "store_unavailable"),
        ),
    },
)
async def give_ticket(
    product_id: ProductId,
    asked: TicketRequest,
    request: Request,
    response: Response,
    context: Context,
    subject: Shopper,
) -> TicketView:
    """Give a user a ticket: the same one, however often it is asked for.

    Who asks before the sale opens takes part in the lot; who comes later comes after all who did.
    """
    user_id = subject or asked.user_id
    if user_id is None:
        raise Problem("invalid", errors=[FieldProblem(location="body", pointer="#/user_id", detail="Field required")])
    given = await context.ticket_counter.give(product_id, user_id, context.address_of(request.scope))
    response.headers.update(given.limits)
    response.headers["Cache-Control"] = "no-store"
    return TicketView.of(given.ticket)
