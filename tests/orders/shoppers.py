"""Shoppers who buy while something happens to the store."""

import asyncio

from redis.exceptions import RedisError

from service.ledger.orders import Outcome
from service.ledger.tickets import SaleTickets
from service.orders.placement import OrderPlacer
from service.orders.sold_out import SoldOutCache
from service.orders.wait_time import WaitEstimator
from service.store import is_store_down
from tests.orders.sale import Sale
from tests.support.waiting import wait_until


class Shoppers:
    """Shoppers who buy one product until they are told to stop, and ask again after an outage."""

    def __init__(self, sale: Sale, product: str) -> None:
        self._placer = OrderPlacer(
            sale.ledger, SoldOutCache(), WaitEstimator(), SaleTickets(sale.shards, sale.ledger.policy.ticket_window)
        )
        self._product = product
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._shop(f"s{number}")) for number in range(8)]
        self.accepted: list[str] = []

    async def more(self, orders: int, deadline_seconds: float = 30) -> None:
        """Wait until so many more orders are accepted."""
        goal = len(self.accepted) + orders
        await wait_until(lambda: len(self.accepted) >= goal, deadline_seconds, "the sale goes on")

    async def stop(self) -> None:
        """Let them finish."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _shop(self, name: str) -> None:
        number = 0
        while not self._stop.is_set():
            me = f"{name}-{number}"
            try:
                placed = await self._placer.place(product_id=self._product, user_id=me, quantity=1, idempotency_key=me)
            except RedisError as error:
                if not is_store_down(error):
                    raise
                await asyncio.sleep(0.01)
                continue
            assert placed.outcome in (Outcome.ACCEPTED, Outcome.REPLAYED)
            assert placed.order is not None
            self.accepted.append(placed.order.order_id)
            number += 1
