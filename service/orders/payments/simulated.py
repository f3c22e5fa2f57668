"""A gateway without a payer, for demos, tests and benchmarks."""

import asyncio
import hashlib
import random
from datetime import timedelta

from opentelemetry.trace import TracerProvider

from service.orders.payments.gateway import Charge, Declined, PaymentUnavailable, Receipt, answered, client_span

LATENCY_BOUND = 5  # the longest simulated latency, in means: exp(-5) cuts 0.7 % of the draws


class SimulatedGateway:
    """Payments without a payer. A key is always declined or never; errors strike at random."""

    def __init__(
        self,
        *,
        latency: timedelta,
        decline_rate: float,
        error_rate: float,
        tracer_provider: TracerProvider,
    ) -> None:
        """Take the mean of the (bounded, exponential) latency; with zero no timer is awaited."""
        self._latency = latency.total_seconds()
        self._decline_rate = decline_rate
        self._error_rate = error_rate
        self._random = random.Random()
        self._tracer = tracer_provider.get_tracer(__name__)

    async def charge(self, charge: Charge) -> Receipt | Declined:
        """See `PaymentGateway`."""
        with client_span(self._tracer, "charge", charge.order_id) as span:
            await self._work()
            if self._decline_rate and _share(charge.idempotency_key) < self._decline_rate:
                return answered(span, Declined("simulated_decline"))
            return answered(span, Receipt(f"simulated-{charge.idempotency_key}"))

    async def refund(self, charge: Charge, *, payment_id: str | None = None, part: int = 0) -> None:  # noqa: ARG002 - the protocol's
        """See `PaymentGateway`."""
        with client_span(self._tracer, "refund", charge.order_id):
            await self._work()

    async def aclose(self) -> None:
        """See `PaymentGateway`."""

    async def _work(self) -> None:
        if self._latency:
            await asyncio.sleep(draw_latency(self._latency, self._random))
        if self._random.random() < self._error_rate:
            raise PaymentUnavailable("the simulated gateway is out of order")


def draw_latency(mean: float, chance: random.Random) -> float:
    """Draw a latency in seconds: exponential about the mean, bounded."""
    return min(chance.expovariate(1 / mean), LATENCY_BOUND * mean)


def _share(key: str) -> float:
    """Map a key to a number in [0, 1), the same in every process."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / 2**64
