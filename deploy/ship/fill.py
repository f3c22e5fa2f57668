"""Places so many orders of lamps at once, past the API: `python -c ... 17000` in a container of the service."""

import asyncio
import os
import sys

from service.ledger.ledger import Ledger, LedgerPolicy
from service.ledger.orders import NewOrder, Outcome, new_order_id
from service.processes.startup import open_shards
from service.settings import Settings

TOGETHER = 500


async def fill(orders: int) -> None:
    """Place them, each of another buyer."""
    settings = Settings.from_env(os.environ)
    async with open_shards(settings, os.environ["REDIS_URL"], name="ship-fill") as shards:
        ledger, shard = Ledger(shards, LedgerPolicy()), shards.of("lamp")
        for first in range(0, orders, TOGETHER):
            many = [
                NewOrder(order_id=new_order_id(shard), product_id="lamp", user_id=f"many-{number}", quantity=1)
                for number in range(first, min(first + TOGETHER, orders))
            ]
            placed = await ledger.place(shard, many)
            if any(one.outcome is not Outcome.ACCEPTED for one in placed):
                sys.exit(f"not accepted: {placed[0].outcome}")


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
