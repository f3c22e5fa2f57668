"""A large export is the ledger, order for order, and takes no more memory than a small one.

`EXPORT_ORDERS=100000` says how many orders: docs/decisions/order-list.md has what that gave.
"""

import asyncio
import csv
import json
import os
import sys
from collections import Counter
from pathlib import Path

import httpx

from service.api.order_list import CSV, EXPORTED, NDJSON
from service.api.orders import OrderView
from service.ledger.audit import dump_ledger, violations
from service.ledger.ledger import Settlement
from service.ledger.orders import NewOrder, Status, new_order_id
from service.ledger.times import rfc_3339
from service.store.client import connect
from tests.orders.sale import Sale
from tests.support import RedisServer
from tests.support.service import ADMIN, Fleet

ORDERS = int(os.environ.get("EXPORT_ORDERS", "10000"))
BATCH = 500
MAX_GROWTH_KIB = 10 * 1024
"""10 000 orders as objects of Python's take 20 MiB."""


async def fill(sale: Sale) -> None:
    """Place orders; of five one is confirmed, one failed, one cancelled, and two wait."""
    await sale.product("phone", stock=10 * ORDERS)
    for first in range(0, ORDERS, BATCH):
        new = [
            NewOrder(
                order_id=new_order_id(0),
                product_id="phone",
                user_id=f"user-{number % 997}",
                quantity=1 + number % 3,
                reference=f'=1+"{number}", or so' if number % 7 == 0 else "",
            )
            for number in range(first, min(first + BATCH, ORDERS))
        ]
        await sale.place(*new)
        await asyncio.gather(*(sale.ledger.cancel(order.order_id) for order in new[2::5]))
        await sale.take(limit=BATCH)
        ends = [Settlement(order.order_id, Status.CONFIRMED, payment_id="pay-1") for order in new[0::5]]
        ends += [Settlement(order.order_id, Status.FAILED, reason="declined") for order in new[1::5]]
        await sale.ledger.settle(0, ends)


def peak_kib(pid: int) -> int:
    """Return the most memory that a process has had since its peak was forgotten (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def forget_peak(pid: int) -> None:
    """Let the peak begin anew with what the process has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cell(value: object) -> str:
    """Return a value as a table has it."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith("=") else text


def download(client: httpx.Client, form: str, to: Path, query: dict[str, str]) -> None:
    """Save an export."""
    headers = {**ADMIN, "Accept": form}
    with (
        client.stream("GET", "/orders/export", params=query, headers=headers, timeout=300) as answer,
        to.open("wb") as file,
    ):
        assert answer.status_code == httpx.codes.OK
        for chunk in answer.iter_raw():
            file.write(chunk)


async def test_a_large_export_is_the_ledger_and_takes_no_memory(valkey_server: RedisServer, tmp_path: Path) -> None:
    """Both forms, each order once, the oldest first; what the process has more at its peak does not grow with them."""
    async with connect(valkey_server.url, name="test") as store:
        sale = await Sale.open(store)
        await fill(sale)
        dump = await dump_ledger(sale.shards, limit=1000)
    assert violations(dump) == []
    orders = dict(dump.orders)
    ndjson, table, grown = tmp_path / "orders.ndjson", tmp_path / "orders.csv", {}
    with Fleet(valkey_server.url, command="api", workers=0) as fleet, fleet.client() as client:
        pid = fleet.pid("api-0")
        for form, path, query in ((NDJSON, ndjson, {"user_id": "user-7"}), (NDJSON, ndjson, {}), (CSV, table, {})):
            forget_peak(pid)
            before = peak_kib(pid)
            download(client, form, path, query)
            grown[form] = peak_kib(pid) - before
    sizes = f"{ndjson.stat().st_size} and {table.stat().st_size} bytes"
    sys.stdout.write(f"{len(orders)} orders, {sizes}; KiB more at the peak: {grown}\n")
    assert max(grown.values()) < MAX_GROWTH_KIB, grown
    assert Counter(order.status for order in orders.values()).keys() == {
        Status.CONFIRMED, Status.FAILED, Status.CANCELLED, Status.PROCESSING
    }  # fmt: skip
    in_turn = sorted(orders.values(), key=lambda order: order.accepted_at)
    with ndjson.open() as lines, table.open(newline="") as file:
        reader = csv.reader(file)
        assert next(reader) == list(EXPORTED)
        times = []
        for line, row in zip(lines, reader, strict=True):
            whole = json.loads(line)
            assert whole == json.loads(OrderView.of(orders.pop(whole["order_id"])).model_dump_json())
            assert row == [cell(whole[name]) for name in EXPORTED]
            times.append(whole["accepted_at"])
    assert orders == {}
    assert times == [rfc_3339(order.accepted_at) for order in in_turn]
