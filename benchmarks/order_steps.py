"""What the store spends on the steps of an order, with the service of whatever checkout is on the path.

A program of its own that imports nothing of this package: `benchmarks.steps` runs it with two checkouts in turn.
Prints one JSON object: microseconds of the store's CPU per order, by step.
"""

import argparse
import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.ledger.catalogue import ProductCatalogue
from service.ledger.ledger import BeginResult, Entry, Ledger, LedgerPolicy, Settlement, SettleResult, ledger_scripts
from service.ledger.orders import NewOrder, Outcome, Status, new_order_id
from service.store import Shards, StoreClient, connect, keys

STEPS = ("place", "begin", "settle")
WARM_UP, BLOCK = 256, 512
TRACE = f"00-{'a' * 32}-{'b' * 16}-00"
CPU = ("used_cpu_user_main_thread", "used_cpu_sys_main_thread")


class WrongAnswerError(RuntimeError):
    """The ledger did not do what it was asked; its figures are worth nothing."""


class Meter:
    """Sums what the store's main thread spends on each step, in seconds: the process's, less what it does beside it."""

    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self.spent = dict.fromkeys(STEPS, 0.0)

    async def _cpu(self) -> float:
        info = await self._client.info("cpu")
        return sum(float(info[name]) for name in CPU)

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """Add what the block takes to a step."""
        before = await self._cpu()
        yield
        self.spent[name] += await self._cpu() - before


class Sale:
    """Orders of one product, each by another user, taken through the steps as the API and a worker do."""

    def __init__(self, ledger: Ledger, *, batch: int, keyed: bool) -> None:
        self._ledger = ledger
        self._batch = batch
        self._keyed = keyed
        self._users = 0

    async def sell(self, orders: int, meter: Meter) -> None:
        """Place orders, so that a line stands; then begin and settle them, a block at a time."""
        async with meter.step("place"):
            for start in range(0, orders, self._batch):
                await self._place(min(self._batch, orders - start))
        for start in range(0, orders, BLOCK):
            entries = await self._deliver(min(BLOCK, orders - start))
            batches = [entries[at : at + self._batch] for at in range(0, len(entries), self._batch)]
            async with meter.step("begin"):
                for batch in batches:
                    await self._begin(batch)
            async with meter.step("settle"):
                for batch in batches:
                    await self._settle(batch)

    async def _place(self, orders: int) -> None:
        placed = await self._ledger.place(0, [self._order() for _ in range(orders)])
        if wrong := [one.outcome for one in placed if one.outcome is not Outcome.ACCEPTED]:
            raise WrongAnswerError(f"an order was not accepted: {wrong[0]}")

    def _order(self) -> NewOrder:
        self._users += 1
        user = f"user-{self._users:010d}"
        digest = hashlib.sha256(user.encode()).hexdigest() if self._keyed else ""
        return NewOrder(
            order_id=new_order_id(0),
            product_id="p0",
            user_id=user,
            quantity=1,
            digest=digest,
            fingerprint=digest,
            traceparent=TRACE,
        )

    async def _deliver(self, orders: int) -> list[Entry]:
        found = await self._ledger.shards.read_queue(0, "steps", after=">", limit=orders)
        return [Entry(entry_id, fields["o"], fields["t"]) for entry_id, fields in found]

    async def _begin(self, entries: list[Entry]) -> None:
        begun = await self._ledger.begin(0, entries)
        if wrong := [one.result for one in begun if one.result is not BeginResult.BEGUN]:
            raise WrongAnswerError(f"an order was not begun: {wrong[0]}")

    async def _settle(self, entries: list[Entry]) -> None:
        ends = [Settlement(e.order_id, Status.CONFIRMED, payment_id=f"simulated-{e.order_id}") for e in entries]
        settled = await self._ledger.settle(0, ends)
        if wrong := [one.result for one in settled if one.result is not SettleResult.SETTLED]:
            raise WrongAnswerError(f"an order was not settled: {wrong[0]}")


async def measure(url: str, orders: int, *, batch: int, keyed: bool, limit: int | None) -> dict[str, float]:
    """Sell in an empty store; return us of the store's CPU per order, by step."""
    async with connect(url, name="steps", timeout_seconds=60) as client:
        await client.flushall()
        shards = Shards(client, ledger_scripts())
        await shards.prepare()
        await ProductCatalogue(shards).put(
            "p0", name="P", price=900, currency="EUR", stock=10**9, limit=limit, opens=None, closes=None
        )
        ledger = Ledger(
            shards, LedgerPolicy(cancellations_per_minute=60)
        )  # as the service is set unless told otherwise
        sale, meter = Sale(ledger, batch=batch, keyed=keyed), Meter(client)
        await sale.sell(WARM_UP, Meter(client))
        await sale.sell(orders, meter)
        confirmed = int(await client.hget(keys.prefix(0) + "totals", "confirmed") or 0)
        if confirmed != WARM_UP + orders:
            raise WrongAnswerError(f"{WARM_UP + orders} orders were settled, the totals say {confirmed}")
    return {step: seconds / orders * 1e6 for step, seconds in meter.spent.items()}


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("orders", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("--keyed", action="store_true")
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    found = measure(given.url, given.orders, batch=given.batch, keyed=given.keyed, limit=given.limit)
    json.dump(asyncio.run(found), sys.stdout)


if __name__ == "__main__":
    main()
