"""What a settled order takes in the store: `python -m benchmarks.memory [orders]`.

Each order is another user's, the worst case for the lists of users. The figure is the growth of `used_memory` by
orders, the queue being empty; with an idempotency key it includes what IDEMPOTENCY_TTL_SECONDS ends.
"""

import asyncio
import shutil
import sys
from typing import Any

from benchmarks.store import Store, open_store
from service.ledger.catalogue import ProductCatalogue
from service.ledger.ledger import Ledger, LedgerPolicy, Settlement, ledger_scripts, read_entry
from service.ledger.orders import NewOrder, Status, new_order_id
from service.store import Shards, StoreClient, connect, keys

BATCH = 100
ORDERS = 20_000


async def sell(ledger: Ledger, client: StoreClient, first: int, orders: int, *, keyed: bool) -> None:
    """Sell one unit to each of so many users, and settle it."""
    for start in range(first, first + orders, BATCH):
        batch = [
            NewOrder(
                order_id=new_order_id(0),
                product_id="sticker-pack",
                user_id=f"user-{number:07d}",
                quantity=1,
                digest=keys.digest(str(number)) if keyed else "",
                fingerprint=keys.digest("sticker-pack", str(number)) if keyed else "",
            )
            for number in range(start, start + BATCH)
        ]
        await ledger.place(0, batch)
        read: Any = await client.xreadgroup(keys.GROUP, "memory", {keys.queue(0): ">"}, count=BATCH)
        await ledger.begin(0, [read_entry(entry_id, fields) for _, rows in read for entry_id, fields in rows])
        paid = [Settlement(o.order_id, Status.CONFIRMED, payment_id=f"simulated-{o.order_id}") for o in batch]
        await ledger.settle(0, paid)


async def bytes_per_order(store: Store, orders: int, *, keyed: bool) -> float:
    """Fill an empty store and return what each order added."""
    async with connect(store.url, name="memory", timeout_seconds=30) as client:
        shards = Shards(client, ledger_scripts())
        await shards.prepare()
        ledger = Ledger(shards, LedgerPolicy())
        await ProductCatalogue(shards).put(
            "sticker-pack", name="Stickers", price=490, currency="USD", stock=10**9, limit=None, opens=None, closes=None
        )
        await sell(ledger, client, 0, 10 * BATCH, keyed=keyed)
        before = store.used_bytes()
        await sell(ledger, client, 10 * BATCH, orders, keyed=keyed)
        return (store.used_bytes() - before) / orders


def main() -> None:
    """Print a line for each server that this machine has, without and with idempotency keys."""
    orders = int(sys.argv[1]) if len(sys.argv) > 1 else ORDERS
    for name, program in (("valkey", None), ("redis", shutil.which("redis-server"))):
        if name == "redis" and program is None:
            continue
        for keyed in (False, True):
            with open_store(program) as store:
                size = asyncio.run(bytes_per_order(store, orders, keyed=keyed))
            sys.stdout.write(f"{name:<8}{orders} orders{' with keys' if keyed else '':<11}{size:7.0f} bytes each\n")


if __name__ == "__main__":
    main()
