"""Money that must go back: what was captured, or may have been, for an order that did not come about.

The ledger notes each such payment in the same step that decides on the order, so no crash forgets one. Any worker
gives it back and says so; until then it is handed out again and again. A refund may be made twice: the gateway knows
its key.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

import structlog

from service.background import Work, every
from service.ledger.ledger import Ledger
from service.ledger.refunds import OwedRefund
from service.metrics import PAYMENTS_REFUNDED
from service.orders.charges import charge_of
from service.orders.payments import PaymentGateway, PaymentRejected, PaymentUnavailable
from service.store import STORE_ERRORS
from telemetry import Telemetry, suppressed

INTERVAL_SECONDS = 0.5
LEASE = timedelta(seconds=5)
MAX_BATCH = 16


class Refunds:
    """Gives money back for one worker."""

    def __init__(self, ledger: Ledger, gateway: PaymentGateway, telemetry: Telemetry) -> None:
        self._ledger = ledger
        self._gateway = gateway
        self._count = telemetry.counter(PAYMENTS_REFUNDED)
        self._log = structlog.get_logger("service.orders.refunds")

    def works(self) -> list[Work]:
        """Return what is to be kept going: a look twice a second at each shard; one that is down delays no other."""
        return [partial(self._keep_looking, shard) for shard in self._ledger.shards]

    async def _keep_looking(self, shard: int) -> None:
        made: list[OwedRefund] = []

        async def look() -> bool:
            nonlocal made
            with suppressed():
                owed = await self._ledger.refunds(shard, LEASE, MAX_BATCH, made)
            made = await self._make(owed)
            return bool(made)

        await every(INTERVAL_SECONDS, look, outage=STORE_ERRORS)

    async def _make(self, owed: Sequence[OwedRefund]) -> list[OwedRefund]:
        """Make refunds; return those that need no other try."""
        done = await asyncio.gather(*(self._give_back(refund) for refund in owed))
        return [refund for refund, ended in zip(owed, done, strict=True) if ended]

    async def _give_back(self, refund: OwedRefund) -> bool:
        charge = replace(charge_of(refund.order, refund.payment_key), amount=refund.amount)
        payment_id = refund.order.payment_id if refund.part else None
        try:
            await self._gateway.refund(charge, payment_id=payment_id, part=refund.part)
        except PaymentUnavailable as error:
            self._log.warning("a payment is given back later", order_id=charge.order_id, error=str(error))
            return False
        except PaymentRejected as error:  # the same again would get the same answer: a person must look
            self._count.add(1, {"result": "failed"})
            self._log.error("a payment could not be given back", payment_key=charge.key, error=str(error))
            return True
        except Exception:  # noqa: BLE001 - a defect in a gateway must not end the refunds of others
            self._log.exception("a payment could not be given back", payment_key=charge.key)
            return False
        self._count.add(1, {"result": "refunded"})
        return True
