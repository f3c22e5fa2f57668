"""Payment of an order: one protocol, a simulator and an HTTP gateway (`.http`, which whoever needs it imports).

`charge` answers with a value, `Receipt` or `Declined`. It raises `PaymentUnavailable` when the outcome is
unknown or the gateway cannot answer now (the caller defers the order), and `PaymentRejected` when the gateway
calls the request itself wrong (the order fails; a repetition would get the same answer).

The idempotency key is the order id, or the key that the charge carries, so a redelivered order is charged
once. `refund` gives back whatever a charge captured; it may be repeated, and where nothing was captured it does
nothing. Each call is one span of kind CLIENT, `charge` or `refund`; a declined payment is not its error.
"""

from service.orders.payments.gateway import (
    Charge,
    Declined,
    PaymentError,
    PaymentGateway,
    PaymentRejected,
    PaymentTimedOut,
    PaymentUnavailable,
    Receipt,
)
from service.orders.payments.settings import PaymentSettings, gateway
from service.orders.payments.simulated import SimulatedGateway

__all__ = [
    "Charge",
    "Declined",
    "PaymentError",
    "PaymentGateway",
    "PaymentRejected",
    "PaymentSettings",
    "PaymentTimedOut",
    "PaymentUnavailable",
    "Receipt",
    "SimulatedGateway",
    "gateway",
]
