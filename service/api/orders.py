"""The routes of an order."""

import re
from typing import Annotated, Any, Self

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, Secret

from service.api.auth import AskerOf, Shopper
from service.api.context import Context
from service.api.errors import RATE_LIMIT_HEADERS, describe
from service.api.strict_json import StrictRoute
from service.ledger.order_reader import CurrentOrder
from service.ledger.orders import Cancellation, Order, Status
from service.ledger.snapshot import QueueView
from service.ledger.times import Time, rfc_3339
from service.orders.checkout import PlacedOrder
from service.problems import FieldProblem, Problem

ProductId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$", examples=["iphone-15-pro"])]
UserId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@|+=-]{0,127}$", examples=["ada"])]
Quantity = Annotated[int, Field(strict=True, ge=1, le=1000, examples=[1])]
Reference = Annotated[
    str,
    Field(
        pattern=r"^[^\x00-\x1f\x7f]{1,128}$",
        description="your own word for the order: it is handed to the payment gateway and given back with the order",
        examples=["basket-4711"],
    ),
]
PaymentToken = Annotated[
    Secret[Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,512}$")]],
    Field(description="what the shopper pays with: handed to the payment gateway, shown to nobody, and forgotten then"),
]
OrderIdPath = Annotated[str, Path(description="as `POST /orders` returned it", max_length=64)]
IDEMPOTENCY_KEY = r"^[\x21-\x7e]{1,255}$"
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Makes it safe to send again: 1 to 255 visible ASCII characters, kept for a day or as set.",
        pattern=IDEMPOTENCY_KEY,
    ),
]

SALE_TICKET = r"^[\x21-\x7e]{1,128}$"
SaleTicket = Annotated[
    str | None,
    Header(
        alias="Sale-Ticket",
        description="The user's ticket for a product that is sold by ticket; of no account for others.",
        pattern=SALE_TICKET,
    ),
]


class OrderRequest(BaseModel):
    """An order for some units of one product. `user_id` may be left out only where a token names the shopper."""

    model_config = ConfigDict(extra="forbid")

    product_id: ProductId
    user_id: UserId | None = None
    quantity: Quantity
    reference: Reference | None = None
    payment_token: PaymentToken | None = None

    def words(self) -> dict[str, str]:
        """Return what is handed on as it came."""
        token = self.payment_token.get_secret_value() if self.payment_token else ""
        return {"reference": self.reference or "", "payment_token": token}


class OrderAccepted(BaseModel):
    """An order that holds its units until `expires_at`. Money in minor units of `currency` (ISO 4217)."""

    order_id: str
    status: Status
    product_id: str
    user_id: str
    quantity: int
    unit_price: int
    currency: str
    accepted_at: Time
    expires_at: Time
    queue_position: int
    estimated_wait_seconds: float = Field(
        description="until a worker takes it, at the present pace; 0 while none is known"
    )

    @classmethod
    def of(cls, order: Order) -> Self:
        """Return the answer to the first request, as it was then."""
        return cls(status=Status.PENDING, **{n: getattr(order, n) for n in cls.model_fields if n != "status"})


_ACCEPTED = (
    '{"order_id":"%s","status":"pending","product_id":"%s","user_id":"%s","quantity":%d,"unit_price":%d,'
    '"currency":"%s","accepted_at":"%s","expires_at":"%s","queue_position":%d,"estimated_wait_seconds":%r}'
)
_NEEDS_NO_ESCAPE = re.compile(r"[ !#-\[\]-~]*")


def accepted_json(order: Order) -> bytes:
    """Return what FastAPI makes of `OrderAccepted.of(order)`, without the model in between."""
    if not _NEEDS_NO_ESCAPE.fullmatch(order.product_id + order.user_id + order.currency):
        return OrderAccepted.of(order).model_dump_json().encode()
    text = _ACCEPTED % (
        *(order.order_id, order.product_id, order.user_id, order.quantity, order.unit_price, order.currency),
        *(rfc_3339(order.accepted_at), rfc_3339(order.expires_at), order.queue_position, order.estimated_wait_seconds),
    )
    return text.encode()


class OrderView(BaseModel):
    """An order as it is now."""

    order_id: str
    status: Status
    product_id: str
    user_id: str
    quantity: int
    unit_price: int
    currency: str
    accepted_at: Time
    expires_at: Time
    settled_at: Time | None = Field(description="when it was confirmed, failed, expired or cancelled")
    attempts: int = Field(description="how often processing it was begun")
    refunded_quantity: int
    reference: str | None = Field(description="as `POST /orders` had it")
    reason: str | None = Field(description="why it failed, expired or was refunded, or its last attempt did not end it")
    payment_id: str | None

    @classmethod
    def of(cls, order: Order) -> Self:
        """Return the order as the ledger has it."""
        return cls(**{name: getattr(order, name) for name in cls.model_fields})


WHILE_PENDING: dict[str, Any] = {"default": None, "exclude_if": lambda value: value is None}


class OrderNow(OrderView):
    """An order as it is now, and what it waits for."""

    queue_position: int | None = Field(description="its place in the queue now; only while pending", **WHILE_PENDING)
    estimated_wait_seconds: float | None = Field(
        description="from now until a worker takes it, at the present pace, 0 while none is known; only while pending",
        **WHILE_PENDING,
    )

    @classmethod
    def now(cls, current: CurrentOrder) -> Self:
        """Return the order as the ledger has it now."""
        place = {"queue_position": current.queue_position, "estimated_wait_seconds": current.estimated_wait_seconds}
        return cls(**{name: getattr(current.order, name) for name in OrderView.model_fields}, **place)


_PLACED = {"Location": {"description": "where the order is", "schema": {"type": "string"}}, **RATE_LIMIT_HEADERS}
router = APIRouter(tags=["orders"], route_class=StrictRoute)


@router.post(
    "/orders",
    status_code=202,
    responses={
        200: {
            "model": OrderAccepted,
            "description": "The key was used before, for this same request: its order.",
            "headers": _PLACED | {"Idempotency-Replayed": {"description": "`true`", "schema": {"type": "string"}}},
        },
        202: {"description": "Accepted: the units are held, payment follows.", "headers": _PLACED},
        **describe(
            *("bad_request", "unauthorized", "unknown_product", "sold_out", "limit_exceeded", "sale_not_open"),
            *(
                "sale_closed",
                "sale_paused",
                "payload_too_large",
                "unsupported_media_type",
                "invalid",
                "idempotency_conflict",
            ),
            *("ticket_required", "ticket_invalid", "not_your_turn", "rate_limited", "overloaded", "store_unavailable"),
        ),
    },
)
async def place_order(
    order: OrderRequest,
    request: Request,
    response: Response,
    context: Context,
    subject: Shopper,
    idempotency_key: IdempotencyKey = None,
    sale_ticket: SaleTicket = None,
) -> OrderAccepted:
    """Place an order: stock is taken at once and held, payment and confirmation follow."""
    user_id = subject or order.user_id
    if user_id is None:
        raise Problem("invalid", errors=[FieldProblem(location="body", pointer="#/user_id", detail="Field required")])
    placed = await context.checkout.place_order(
        product_id=order.product_id,
        user_id=user_id,
        quantity=order.quantity,
        idempotency_key=idempotency_key,
        key_scope=subject or "",
        address=context.address_of(request.scope),
        ticket=sale_ticket or "",
        **order.words(),
    )
    response.status_code, headers = head_of(placed, context.settings.root_path)
    response.headers.update(headers)
    return OrderAccepted.of(placed.order)


def head_of(placed: PlacedOrder, root_path: str) -> tuple[int, dict[str, str]]:
    """Return the status of the answer to an order that was placed, and its headers."""
    location = {"location": f"{root_path}/orders/{placed.order.order_id}"}
    location |= {name.lower(): value for name, value in placed.limits.items()}
    return (200, location | {"idempotency-replayed": "true"}) if placed.replayed else (202, location)


@router.get("/orders/queue", responses=describe("store_unavailable"))
async def read_queue(context: Context) -> QueueView:
    """Tell how long the queue is and how fast it moves."""
    return QueueView.of(await context.poller.fresh())


@router.get("/orders/{order_id}", responses=describe("unauthorized", "unknown_order", "invalid", "store_unavailable"))
async def read_order(order_id: OrderIdPath, context: Context, asker: AskerOf) -> OrderNow:
    """Read one order."""
    current = await context.order_reader.order(context.known_order_id(order_id))
    if current is None or not asker.may_see(current.order.user_id):
        raise Problem("unknown_order")
    return OrderNow.now(current)


@router.post(
    "/orders/{order_id}/cancel",
    responses=describe("unauthorized", "unknown_order", "not_cancellable", "invalid", "store_unavailable"),
)
async def cancel_order(order_id: OrderIdPath, context: Context, asker: AskerOf) -> OrderView:
    """Cancel an order that is not being processed yet; its units go back to stock, once."""
    outcome, order = await context.ledger.cancel(
        context.known_order_id(order_id), asker.subject, by_shopper=not asker.admin
    )
    if order is None or outcome is Cancellation.UNKNOWN_ORDER:
        raise Problem("unknown_order")
    if outcome is Cancellation.NOT_CANCELLABLE:
        raise Problem("not_cancellable", f"The order is {order.status}.")
    context.sold_out.invalidate(order.product_id)
    return OrderView.of(order)
