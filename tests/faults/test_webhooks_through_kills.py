"""A merchant's program is told by webhooks while the API, workers, the store and it itself are killed, and it hangs."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.kit import Auditor, Load, assert_kept, crowd_plan, put_product, sale
from tests.faults.shipped import query, shipped, told
from tests.support import RedisServer, free_port, wait_until
from tests.support.processes import send_signal
from tests.support.program import Program
from tests.support.webhooks import SECRET

RECEIVER = str(Path(__file__).parent / "webhook_receiver.py")


def start(port: int, database: Path) -> Program:
    """Start the program, or start it again."""
    return Program.python(RECEIVER, str(port), str(database), env={"WEBHOOK_SECRET": SECRET})


async def test_what_was_confirmed_is_shipped_once(durable: RedisServer, tmp_path: Path, seed: int) -> None:
    """Every order's changes are told, in their order, by whichever worker lives; shipped is what was confirmed."""
    database, port = tmp_path / "shipped.db", free_port()
    env = {"WEBHOOK_URL": f"http://127.0.0.1:{port}/hook", "WEBHOOK_SECRET": SECRET, "WORKER_SILENCE_SECONDS": "1"}
    async with (
        Auditor.of(durable.url) as auditor,
        sale(durable.url, api=2, workers=2, env=env) as (api, workers),
    ):
        await put_product(api.url, stock=1_000_000)
        receiver = start(port, database)
        strikes: list[Callable[[], Any]] = [lambda: api.kill("api-0"), durable.kill9]
        strikes += [lambda: workers.kill("order-0"), lambda: workers.kill("order-1"), lambda: receiver.kill9()]  # noqa: PLW0108
        strikes += [lambda: send_signal(receiver.pid, signal.SIGSTOP)]
        try:
            async with Load(crowd_plan(api.url, seed, rate=120)) as load:
                for strike in strikes:
                    await load.more(60)
                    await wait_until(lambda: query(database, "select event from seen"), 20, "something was told")
                    await asyncio.to_thread(strike)
                    if not durable.running():
                        await asyncio.to_thread(durable.start)
                    if not receiver.running():
                        receiver = start(port, database)
                await load.more(60)
            dump = await auditor.at_rest()  # while the program hangs: no order waits for it
            assert_kept(dump, load.report)
            confirmed = {order.order_id for order in dump.orders.values() if order.status == "confirmed"}
            assert shipped(database) < confirmed
            send_signal(receiver.pid, signal.SIGCONT)
            await wait_until(lambda: shipped(database) >= confirmed, 45, "all is shipped")
            assert shipped(database) == confirmed
        finally:
            await asyncio.to_thread(receiver.end)
    assert told(database) == {order.order_id: ["pending", order.status.value] for order in dump.orders.values()}
    assert query(database, "select why from refused") == []
