"""A merchant's program follows the feed while the API, a worker, the store and it itself are killed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.kit import Auditor, Load, assert_kept, crowd_plan, put_product, sale
from tests.faults.shipped import query, shipped, told
from tests.support import RedisServer, wait_until
from tests.support.program import Program
from tests.support.service import ADMIN_TOKEN, Fleet

FULFILMENT = str(Path(__file__).parent / "fulfilment.py")


def start(api: Fleet, database: Path) -> Program:
    """Start the program, or start it again."""
    return Program.python(FULFILMENT, api.url, str(database), env={"ADMIN_TOKEN": ADMIN_TOKEN})


async def test_what_was_confirmed_is_shipped_once(durable: RedisServer, tmp_path: Path, seed: int) -> None:
    """Every order's changes arrive, in their order; shipped is exactly what the ledger has confirmed."""
    database = tmp_path / "shipped.db"

    async with (
        Auditor.of(durable.url) as auditor,
        sale(durable.url, api=2, workers=2, env={"WORKER_SILENCE_SECONDS": "1"}) as (api, workers),
    ):
        await put_product(api.url, stock=1_000_000)
        fulfilment = start(api, database)
        strikes: list[Callable[[], Any]] = [lambda: api.kill("api-0"), lambda: workers.kill("order-0")]
        strikes += [lambda: fulfilment.end(), durable.kill9]  # noqa: PLW0108 - the program changes
        try:
            async with Load(crowd_plan(api.url, seed, rate=120)) as load:
                for strike in strikes:
                    await load.more(60)
                    await wait_until(lambda: query(database, "select event from seen"), 20, "something was heard")
                    await asyncio.to_thread(strike)
                    if not durable.running():
                        await asyncio.to_thread(durable.start)
                    if not fulfilment.running():
                        fulfilment = start(api, database)
                await load.more(60)
            dump = await auditor.at_rest()
            assert_kept(dump, load.report)
            confirmed = {order.order_id for order in dump.orders.values() if order.status == "confirmed"}
            await wait_until(lambda: shipped(database) >= confirmed, 30, "all is shipped")
            assert shipped(database) == confirmed != set()
        finally:
            await asyncio.to_thread(fulfilment.end)
    assert told(database) == {order.order_id: ["pending", order.status.value] for order in dump.orders.values()}
