"""What a payment gateway takes, answers and raises, and the span that each call leaves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from opentelemetry.trace import Span, SpanKind, Tracer

from telemetry import child_span

ORDER_ID = "flash_sale.order_id"
OUTCOME = "flash_sale.payment.outcome"
CAPTURED = "captured"
DECLINED = "declined"


@dataclass(slots=True)
class Charge:
    """What to collect: `amount` in minor units of `currency` (ISO 4217). One `key` is charged once.

    `reference` is the merchant's word for the order, `payment_token` what the shopper pays with: '' where the gateway
    knows that by the user.
    """

    order_id: str
    user_id: str
    amount: int
    currency: str
    key: str = ""
    reference: str | None = None
    payment_token: str = field(default="", repr=False)

    @property
    def idempotency_key(self) -> str:
        """The key given, else the order id."""
        return self.key or self.order_id


@dataclass(slots=True)
class Receipt:
    """The payment was captured."""

    payment_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The payer's side said no. `reason` is a short word from the gateway, not a closed set.

    `maybe_captured`: an earlier request under this key had no answer, and may have collected the money all the same.
    """

    reason: str
    maybe_captured: bool = False


class PaymentError(Exception):
    """Any way in which a payment has no answer."""

    code = "payment_error"


class PaymentUnavailable(PaymentError):  # noqa: N818 - says what is so; the tree's root carries the suffix
    """The outcome is unknown or the gateway is out: try again later, not before `retry_after` if given."""

    code = "payment_unavailable"

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        """Keep the gateway's own wish for the pause."""
        super().__init__(message)
        self.retry_after = retry_after


class PaymentTimedOut(PaymentUnavailable):
    """The gateway gave no answer in time."""


class PaymentRejected(PaymentError):  # noqa: N818 - as above
    """The gateway calls the request wrong (HTTP `status`): a bug or a setting, never the payer."""

    code = "payment_rejected"

    def __init__(self, message: str, status: int) -> None:
        """Keep the HTTP status for the log."""
        super().__init__(message)
        self.status = status


class PaymentGateway(Protocol):
    """Collects money for orders."""

    async def charge(self, charge: Charge) -> Receipt | Declined:
        """Collect the amount, once per idempotency key.

        Raises:
            PaymentUnavailable: no outcome is known.
            PaymentRejected: the request is wrong.
        """

    async def refund(self, charge: Charge, *, payment_id: str | None = None, part: int = 0) -> None:
        """Give back what was captured by this charge, if anything was; `payment_id` where it is known.

        A number `part` means that `charge.amount` is given back of an order that stands: once for each number.

        Raises:
            PaymentUnavailable: no outcome is known.
            PaymentRejected: the request is wrong.
        """

    async def aclose(self) -> None:
        """Close what is open."""


@contextmanager
def client_span(tracer: Tracer, name: str, order_id: str) -> Iterator[Span]:
    """Open the span of one call; an error marks it and leaves its code as the outcome."""
    with child_span(tracer, name, kind=SpanKind.CLIENT, attributes={ORDER_ID: order_id}) as span:
        try:
            yield span
        except PaymentError as error:
            span.set_attribute(OUTCOME, error.code)
            span.set_attribute("error.type", error.code)
            raise


def answered(span: Span, answer: Receipt | Declined) -> Receipt | Declined:
    """Write the outcome on the span and return the answer."""
    span.set_attribute(OUTCOME, CAPTURED if isinstance(answer, Receipt) else DECLINED)
    return answer
