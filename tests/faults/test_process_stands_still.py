"""A process that was stopped for longer than its own deadlines finds in time what came in time, and fails nobody."""

import asyncio
import signal
from pathlib import Path

from tests.faults.kit import PRODUCT, Auditor, fleet, put_product
from tests.support.http import http_client
from tests.support.service import Fleet

CLIENTS = 16
TIMES = 2
STOPPED_SECONDS = 2.5
ENV = {"MAX_WAIT_SECONDS": "0", "STORE_TIMEOUT_SECONDS": "1", "KEEP_ALIVE_SECONDS": "1", "CLIENT_TIMEOUT_SECONDS": "1"}


class Shoppers:
    """Order without a pause, each over a connection of its own; `statuses` has what they were answered."""

    def __init__(self, running: Fleet) -> None:
        self._url = running.url
        self.statuses: list[int] = []

    async def shop(self, number: int) -> None:
        """Order until cancelled."""
        async with http_client(self._url) as client:
            while True:
                body = {"product_id": PRODUCT, "user_id": f"{number}-{len(self.statuses)}", "quantity": 1}
                answer = await client.post("/orders", json=body)
                self.statuses.append(answer.status_code)
                await asyncio.sleep(0.002)  # now and then one is stopped between two orders


async def test_orders_under_way_are_accepted(tmp_path: Path) -> None:
    """The store has answered, the clients have sent: all of it is read before any deadline counts."""
    data = tmp_path / "data"
    async with fleet(data, workers=0, env=ENV) as running, Auditor.of(f"unix://{data}/store.sock") as auditor:
        await put_product(running.url, stock=1_000_000)
        shoppers = Shoppers(running)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(shoppers.shop(number)) for number in range(CLIENTS)]
            for _ in range(TIMES):
                await asyncio.sleep(0.5)  # of orders
                running.kill("api-0", signal.SIGSTOP)
                await asyncio.sleep(STOPPED_SECONDS)  # this is the fault itself
                running.kill("api-0", signal.SIGCONT)
            await asyncio.sleep(0.5)
            for task in tasks:
                task.cancel()
        assert set(shoppers.statuses) == {202}
        assert len((await auditor.dump()).orders) >= len(shoppers.statuses)
        assert "the store takes no writes" not in running.log
        assert "the store does not answer" not in running.log
