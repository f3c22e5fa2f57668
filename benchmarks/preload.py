"""Fills a store with orders by the ledger's own steps, in batches, several at a time."""

import asyncio
import itertools
import secrets
from collections.abc import Iterable
from typing import Any

from benchmarks.store import Store
from service.ledger.ledger import BeginResult, Ledger, LedgerPolicy, Settlement, ledger_scripts, read_entry
from service.ledger.orders import NewOrder, Outcome, Status, new_order_id
from service.store import Shards, connect, keys

BATCH = 250
LANES = 4
RECORDED_EACH = 100  # at 10 000 orders a second, of which 100 a second are recorded


class PreloadError(RuntimeError):
    """The ledger did not take an order, or did not settle it."""


def place(store: Store, users: range, products: int = 1) -> None:
    """Place one order for one unit per user; the products take turns. They stay in the queue."""
    asyncio.run(_with_ledger(store, users, products, settle=False))


def settle(store: Store, users: range, products: int = 1) -> None:
    """Place orders, begin and confirm them, as a worker with a payment that takes no time would."""
    asyncio.run(_with_ledger(store, users, products, settle=True))


async def _with_ledger(store: Store, users: range, products: int, *, settle: bool) -> None:
    async with connect(store.url, name="preload", timeout_seconds=60) as client:
        shards = Shards(client, ledger_scripts())
        await shards.prepare()
        ledger = Ledger(shards, LedgerPolicy())
        starts = iter(range(users.start, users.stop, BATCH))

        async def lane(number: int) -> None:
            for start in starts:
                await _place(ledger, range(start, min(start + BATCH, users.stop)), products)
                if settle:
                    await _settle(ledger, f"preload-{number}")

        await asyncio.gather(*(lane(number) for number in range(LANES)))
        while settle and await _settle(ledger, "preload-0"):
            pass


async def _place(ledger: Ledger, users: Iterable[int], products: int) -> None:
    turns = itertools.cycle(f"p{number}" for number in range(products))
    orders = [
        NewOrder(
            order_id=new_order_id(0),
            product_id=product,
            user_id=f"user-{user:010d}",
            quantity=1,
            traceparent=_traceparent(user),
        )
        for user, product in zip(users, turns, strict=False)
    ]
    placements = await ledger.place(0, orders)
    if refused := [placement.outcome for placement in placements if placement.outcome is not Outcome.ACCEPTED]:
        raise PreloadError(f"{len(refused)} orders: {refused[0]}")


def _traceparent(number: int) -> str:
    """Return what the API puts into an entry: a trace of the order's own; as many are recorded as by its budget."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{'00' if number % RECORDED_EACH else '01'}"


async def _settle(ledger: Ledger, consumer: str) -> int:
    client = ledger.shards.client
    reply: Any = await client.xreadgroup(keys.GROUP, consumer, {keys.queue(0): ">"}, count=BATCH)
    entries = [read_entry(entry_id, fields) for _, found in reply or () for entry_id, fields in found]
    if not entries:
        return 0
    begun = await ledger.begin(0, entries)
    if any(result.result is not BeginResult.BEGUN for result in begun):
        raise PreloadError("an order could not be begun")
    settlements = [Settlement(e.order_id, Status.CONFIRMED, payment_id=f"simulated-{e.order_id}") for e in entries]
    await ledger.settle(0, settlements)
    return len(entries)
