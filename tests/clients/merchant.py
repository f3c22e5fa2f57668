"""A merchant's and a shopper's steps, with the client that openapi-python-client generates: a program of its own.

Prints one JSON object: what each step was answered.
"""

import json
import os
import sys
import time
from http import HTTPStatus
from typing import Any

from flash_sale_client import AuthenticatedClient
from flash_sale_client.api.events import list_events
from flash_sale_client.api.inventory import patch_product, put_product
from flash_sale_client.api.orders import list_orders, place_order, read_order, refund_order
from flash_sale_client.models import (
    OrderAccepted,
    OrderNow,
    OrderRequest,
    ProblemDetails,
    ProductPatch,
    ProductPut,
    ProductPutCurrency,
    RefundRequest,
    Status,
)

PRODUCT = "vase-python"
client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["ADMIN_TOKEN"])


def settled(order_id: str) -> OrderNow:
    """Wait until the order has ended."""
    while True:
        now = read_order.sync(order_id, client=client)
        if not isinstance(now, OrderNow):
            raise TypeError(now)
        if now.status not in (Status.PENDING, Status.PROCESSING):
            return now
        time.sleep(0.02)


def told(answer: Any) -> dict[str, Any]:
    """Return the answer as it came."""
    if answer is None or isinstance(answer, ProblemDetails):
        raise TypeError(answer)
    fields: dict[str, Any] = answer.to_dict()
    return fields


def main() -> None:
    """Take the steps."""
    product = ProductPut(name="Vase", price=1500, currency=ProductPutCurrency.EUR, total_stock=9, per_user_limit=4)
    put = put_product.sync(PRODUCT, client=client, body=product)
    renamed = patch_product.sync(PRODUCT, client=client, body=ProductPatch(name="Tall vase"))
    limited = patch_product.sync(PRODUCT, client=client, body=ProductPatch(per_user_limit=3))
    order = OrderRequest(product_id=PRODUCT, user_id="ada", quantity=2, reference="basket-1")
    placed = place_order.sync(client=client, body=order, idempotency_key="python-1")
    again = place_order.sync_detailed(client=client, body=order, idempotency_key="python-1")
    if not isinstance(placed, OrderAccepted) or not isinstance(again.parsed, OrderAccepted):
        raise TypeError(placed)
    now = settled(placed.order_id)
    refunded = refund_order.sync(placed.order_id, client=client, body=RefundRequest(quantity=1))
    listed = list_orders.sync(client=client, product_id=PRODUCT, status=[Status.CONFIRMED])
    events = list_events.sync(client=client, limit=1000)
    order.product_id = "nothing"
    refused = place_order.sync(client=client, body=order)
    replayed = again.headers.get("Idempotency-Replayed")
    answers = {
        "put": told(put),
        "renamed": told(renamed),
        "limited": told(limited),
        "replayed": [int(again.status_code), replayed, again.parsed.order_id == placed.order_id],
        "settled": told(now),
        "refunded": told(refunded),
        "listed": [one["order_id"] for one in told(listed)["orders"]],
        "events": [one["type"] for one in told(events)["events"] if one["subject"] == placed.order_id],
        "refused": refused.code if isinstance(refused, ProblemDetails) else HTTPStatus.OK,
    }
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
