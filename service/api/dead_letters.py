"""The routes of dead letters: orders that were given up, for which a person decides."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from service.api.admin_writes import WRITE_PROBLEMS, note_replay, once_only
from service.api.auth import Admin, FollowingAdmin
from service.api.context import Context
from service.api.errors import describe
from service.api.orders import IdempotencyKey, OrderIdPath, OrderView
from service.api.strict_json import StrictRoute
from service.ledger.dead_letters import Requeued
from service.ledger.snapshot import MissingShards
from service.problems import Problem

router = APIRouter(prefix="/dead-letters", tags=["dead letters"], route_class=StrictRoute)


class DeadLetterList(BaseModel):
    """Orders that were given up, those that were first at the head."""

    orders: list[OrderView]
    missing_shards: MissingShards = None


@router.get(
    "",
    dependencies=[FollowingAdmin],
    responses=describe("unauthorized", "admin_disabled", "invalid", "store_unavailable"),
)
async def list_dead_letters(
    context: Context, limit: Annotated[int, Query(ge=1, le=1000, description="how many at most")] = 100
) -> DeadLetterList:
    """List the orders that were given up after all their attempts; they hold no units."""
    found = await context.dead_letters.list(limit)
    return DeadLetterList(orders=[OrderView.of(order) for order in found], missing_shards=found.missing_shards)


@router.post(
    "/{order_id}/requeue",
    dependencies=[Admin],
    responses={**WRITE_PROBLEMS, **describe("unknown_order", "not_a_dead_letter", "sold_out", "limit_exceeded")},
)
async def requeue_dead_letter(
    order_id: OrderIdPath, response: Response, context: Context, idempotency_key: IdempotencyKey = None
) -> OrderView:
    """Process a dead letter anew: its units are reserved again, its payment is asked for under a new key."""
    known = context.known_order_id(order_id)
    once = once_only(idempotency_key, context.settings.policy.idempotency, f"requeue {order_id}")
    answer = await context.dead_letters.requeue_once(known, context.settings.policy.reservation, once)
    if answer.order is None or answer.result is Requeued.NOT_DEAD:
        code = "not_a_dead_letter" if answer.order else answer.result.value
        raise Problem(code, f"The order is {answer.order.status}." if answer.order else "")
    if answer.result is not Requeued.REQUEUED:
        raise Problem(answer.result.value)
    note_replay(response, replayed=answer.replayed)
    return OrderView.of(answer.order)
