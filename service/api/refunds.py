"""The route that gives a confirmed order back."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.admin_writes import WRITE_PROBLEMS, note_replay, once_only
from service.api.auth import Admin
from service.api.context import Context
from service.api.errors import describe
from service.api.orders import IdempotencyKey, OrderIdPath, OrderView, Quantity
from service.api.strict_json import StrictRoute
from service.ledger.orders import Order
from service.ledger.refunds import Refund, RefundResult
from service.ledger.refunds import refund_order as book_refund
from service.problems import Problem

router = APIRouter(tags=["orders"], route_class=StrictRoute)


class RefundRequest(BaseModel):
    """What is given back of an order."""

    model_config = ConfigDict(extra="forbid")

    quantity: Quantity | None = Field(None, description="units; null: all that are left")
    return_to_stock: Annotated[bool, Field(strict=True, description="whether they are on sale again")] = True
    reason: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{0,128}$", description="shown with the order")] = ""


@router.post(
    "/orders/{order_id}/refund",
    dependencies=[Admin],
    responses={**WRITE_PROBLEMS, **describe("unknown_order", "not_refundable")},
)
async def refund_order(
    order_id: OrderIdPath,
    wanted: RefundRequest,
    response: Response,
    context: Context,
    idempotency_key: IdempotencyKey = None,
) -> OrderView:
    """Refund a confirmed order, whole or in part. The money is given back by a worker, once, whatever crashes."""
    asked = Refund(
        order_id=context.known_order_id(order_id),
        quantity=wanted.quantity,
        return_to_stock=wanted.return_to_stock,
        reason=wanted.reason,
    )
    once = once_only(idempotency_key, context.settings.policy.idempotency, f"refund {order_id}", wanted)
    answer = await book_refund(context.shards, asked, once)
    if answer.order is not None:
        context.sold_out.invalidate(answer.order.product_id)
    if answer.result is not RefundResult.REFUNDED or answer.order is None:
        raise Problem(answer.result.value, _stands(answer.order))
    note_replay(response, replayed=answer.replayed)
    return OrderView.of(answer.order)


def _stands(order: Order | None) -> str:
    if order is None:
        return ""
    return f"The order is {order.status}; {order.refunded_quantity} of {order.quantity} units are refunded."
