"""Where faults strike: around the store, around the payment gateway. Those of requests are an ASGI layer of the API."""

import asyncio
from typing import Any

from service.faults.state import Fault, Faults
from service.ledger.products import ROW
from service.metrics import CHARGES
from service.orders.payments import Charge, Declined, PaymentGateway, PaymentRejected, PaymentUnavailable, Receipt
from service.store import Shards, StoreConnectionError, named
from telemetry import Telemetry

PAUSE_SECONDS = 0.1
_RESTOCKED, _STOCK, _SOLD = map(ROW.index, ("restocked", "stock", "sold"))
"""Places in the row of a product, see `product_row` in `_products.lua`."""


class _FaultyShards(Shards):
    """The same store, as the faults let it be seen."""

    def __init__(self, real: Shards, faults: Faults) -> None:
        super().__init__(
            real.client,
            real.scripts,
            count=real.count,
            tracer=real.tracer,
            blocking_client=real.blocking_client,
            prefix=real.prefix,
        )
        self.server, self.numbers = real.server, real.numbers
        self.replicas_wait_seconds = real.replicas_wait_seconds
        self._faults = faults

    async def run(self, step: str, shard: int, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as `Shards.run`
        if self._faults.should_inject(Fault.STORE_OUTAGE):
            raise StoreConnectionError("the fault store_outage is on")
        reply = await super().run(step, shard, *args, **options)
        if step in ("snapshot", "turn"):
            for product in named(reply if step == "snapshot" else reply[1])["products"]:
                self._distort(product)
        return reply

    async def read_queue(self, *args: Any, **options: Any) -> list[tuple[str, dict[str, str]]]:  # noqa: ANN401 - ditto
        if self._faults.should_inject(Fault.STORE_OUTAGE):
            raise StoreConnectionError("the fault store_outage is on")
        return await super().read_queue(*args, **options)

    def _distort(self, product: list[Any]) -> None:
        if self._faults.should_inject(Fault.LEDGER_DRIFT):
            product[_RESTOCKED] = int(product[_RESTOCKED]) + 1
        if self._faults.should_inject(Fault.OVERSELL):
            product[_SOLD] = int(product[_SOLD]) + int(product[_STOCK]) + 1
            product[_STOCK] = -1


class _FaultyGateway:
    """The same gateway, on a bad day."""

    def __init__(self, real: PaymentGateway, faults: Faults, telemetry: Telemetry) -> None:
        self._real = real
        self._faults = faults
        self._charges = telemetry.counter(CHARGES)

    async def charge(self, charge: Charge) -> Receipt | Declined:
        """See `PaymentGateway`."""
        if delay := self._faults.should_inject(Fault.PAYMENT_DELAY):
            await asyncio.sleep(delay.seconds)
        while self._faults.should_inject(Fault.PAYMENT_STALL):  # noqa: ASYNC110 - a drill may poll
            await asyncio.sleep(PAUSE_SECONDS)
        if self._faults.should_inject(Fault.TELEMETRY_MISUSE):
            self._charges.add(1, {"result": "misused"})
        if self._faults.should_inject(Fault.PAYMENT_OUTAGE):
            raise PaymentUnavailable("the fault payment_outage is on")
        if self._faults.should_inject(Fault.PAYMENT_DECLINES):
            return Declined("fault")
        return await self._real.charge(charge)

    async def refund(self, charge: Charge, *, payment_id: str | None = None, part: int = 0) -> None:
        """See `PaymentGateway`."""
        if self._faults.should_inject(Fault.REFUNDS_REJECTED):
            raise PaymentRejected("the fault refunds_rejected is on", 422)
        await self._real.refund(charge, payment_id=payment_id, part=part)

    async def aclose(self) -> None:
        """See `PaymentGateway`."""
        await self._real.aclose()


def faulty_shards(shards: Shards, faults: Faults | None) -> Shards:
    """Return the store with its faults; the store itself where faults are off."""
    return shards if faults is None else _FaultyShards(shards, faults)


def faulty_gateway(gateway: PaymentGateway, faults: Faults | None, telemetry: Telemetry) -> PaymentGateway:
    """Return the gateway with its faults; the gateway itself where faults are off."""
    return gateway if faults is None else _FaultyGateway(gateway, faults, telemetry)
