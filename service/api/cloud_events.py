"""A change of an order as CloudEvents 1.0 has it (https://cloudevents.io), for `GET /events` and for webhooks."""

from datetime import datetime
from functools import lru_cache
from typing import Literal, Self

from pydantic import BaseModel, Field

from service.api.orders import OrderView
from service.ledger.feed import EVENT_TYPES, Change

EventType = Literal[
    "flashsale.order.pending",
    "flashsale.order.confirmed",
    "flashsale.order.failed",
    "flashsale.order.expired",
    "flashsale.order.cancelled",
    "flashsale.order.refunded",
]


class OrderEvent(BaseModel):
    """A change of an order.

    `flashsale.order.refunded` comes with each refund; one of a part leaves the order `confirmed`.
    """

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(description="the same however often the event comes: who knows it has had the event")
    source: str = Field(description="whose orders: of one store, and ids are unique in it")
    type: EventType
    subject: str = Field(description="the order's id")
    time: datetime = Field(description="when the order changed")
    datacontenttype: Literal["application/json"] = "application/json"
    data: OrderView = Field(description="the order as it was then")

    @classmethod
    def of(cls, change: Change, store: int) -> Self:
        """Return the event that tells of a change."""
        return cls.model_validate(
            {
                "id": change.event_id,
                "source": f"/flash-sale/{store:016x}",
                "type": EVENT_TYPES[change.type],
                "subject": change.order.order_id,
                "time": change.time,
                "data": OrderView.of(change.order),
            }
        )


@lru_cache(maxsize=2048)
def event_json(change: Change, store: int) -> bytes:
    """Write the event that tells of a change."""
    return OrderEvent.of(change, store).model_dump_json().encode()
