"""A failover loses what no replica had: the bank and the traces name it, the money goes back, it is counted once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from service.ledger.lost import find_missing
from service.ledger.orders import Order, at, new_order_id
from service.orders.payments.captures import (
    Capture,
    CapturesUnreadableError,
    captures_in,
    orders_in_events,
    orders_in_traces,
)
from service.store import connect
from tests.conftest import MakeServer
from tests.faults.bank import Bank
from tests.orders.sale import Sale
from tests.support import serve, wait_until
from tests.support.cli import complaint, flash_sale

KEPT, LOST = 5, 3


def capture(bank: Bank, order: Order) -> None:
    """Let the bank take the money of an order."""
    body = {"order_id": order.order_id, "user_id": "ann", "amount": order.amount, "currency": order.currency}
    bank.captured[order.payment_key] = body


async def in_step(primary: Redis, replica: Redis) -> bool:
    """Whether the replica has all that the primary has."""
    ours, theirs = [await one.info("replication") for one in (primary, replica)]
    return theirs.get("master_link_status") == "up" and ours["master_repl_offset"] == theirs["slave_repl_offset"]


@asynccontextmanager
async def failed_over(make_server: MakeServer, bank: Bank) -> AsyncIterator[tuple[str, list[str], Sale]]:
    """Lose orders: the replica is cut off, the primary sells on and dies. Yield the new store and who is gone."""
    old, new = make_server("valkey"), make_server("valkey")
    async with connect(old.url, name="test") as primary, connect(new.url, name="test") as replica:
        await replica.replicaof("127.0.0.1", old.port)
        sale = await Sale.open(primary)
        await sale.product(stock=100)
        for _ in range(KEPT):
            capture(bank, await sale.buy())
        await wait_until(lambda: in_step(primary, replica), 20, "the replica is in step")
        await replica.replicaof("NO", "ONE")
        gone = [await sale.buy() for _ in range(LOST)]
        for order in gone:
            capture(bank, order)
        old.kill9()
        yield new.url, [order.order_id for order in gone], await Sale.open(replica)


async def test_the_bank_names_what_is_gone_and_the_money_goes_back_once(make_server: MakeServer) -> None:
    """Found, then given back and booked, then nothing is left to do; a charge that is no order is nobody's business."""
    bank = Bank()
    bank.captured["invoice-7"] = {"order_id": "invoice-7", "user_id": "bob", "amount": 1, "currency": "EUR"}
    async with failed_over(make_server, bank) as (url, gone, sale), serve(bank.app()) as gateway:
        env = {"REDIS_URL": url, "PAYMENT_GATEWAY_URL": gateway}

        async def audit(*options: str) -> tuple[int, dict[str, Any]]:
            done = await asyncio.to_thread(flash_sale, "audit", "--json", "--against", "bank", *options, env=env)
            return done.returncode, json.loads(done.stdout)

        status, report = await audit()
        found = report["against"]
        assert (status, report["clean"], sorted(found["gone"]), found["there"]) == (1, True, sorted(gone), KEPT)
        assert sorted(found["captured"]) == sorted(gone)
        assert not bank.refunded, "an audit that was not told to gives nothing back"
        status, report = await audit("--refund")
        found = report["against"]
        assert (status, found["refunded"], found["gone"], sorted(found["booked"])) == (0, LOST, [], sorted(gone))
        assert dict(bank.refunded) == dict.fromkeys(gone, 1)
        status, report = await audit("--refund")
        assert (status, report["against"]["refunded"], report["lost"], report["clean"]) == (0, 0, LOST, True)
        assert dict(bank.refunded) == dict.fromkeys(gone, 1)
        assert (await sale.snapshot()).lost == LOST

        bank.down = True
        bank.captured["last"] = {**bank.captured[gone[0]], "order_id": new_order_id(0)}
        status, report = await audit("--refund")
        assert (status, len(report["against"]["not_refunded"]), report["against"]["refunded"]) == (1, 1, 0)


async def test_files_of_charges_and_traces_name_it_too(make_server: MakeServer, tmp_path: Path) -> None:
    """What the bank exported, the collector wrote, or a follower of the feed kept; it is said to people as well."""
    bank = Bank()
    async with failed_over(make_server, bank) as (url, gone, _):
        charges, traces = tmp_path / "charges.ndjson", tmp_path / "traces.json"
        charges.write_text("\n".join([*gone, *(json.dumps({"order_id": order}) for order in bank.captured), ""]))
        spans = [
            {"attributes": [{"key": "flash_sale.order_id", "value": {"stringValue": one}}]} for one in bank.captured
        ]
        traces.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}) + "\n")
        events = tmp_path / "events.ndjson"
        told = [{"type": "flashsale.order.pending", "subject": order} for order in bank.captured]
        events.write_text("\n".join([json.dumps({"events": told[:4]}), *map(json.dumps, told[3:]), ""]))
        for witness, file in (("bank", charges), ("traces", traces), ("events", events)):
            arguments = ("audit", "--against", witness, "--from", str(file))
            done = await asyncio.to_thread(flash_sale, *arguments, env={"REDIS_URL": url})
            assert f"against {witness}: {KEPT + LOST} orders, {KEPT} are there, {LOST} are gone" in done.stdout
            assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("GONE")] == sorted(gone)
            assert (done.returncode, done.stderr) == (1, "")


async def test_what_was_forgotten_in_time_or_cannot_be_asked_is_not_called_gone(valkey: Redis) -> None:
    sale = await Sale.open(valkey)
    await sale.product()
    there, gone, elsewhere = (await sale.buy()).order_id, new_order_id(0), new_order_id(7)
    young = at(int(gone[2:14], 16))
    found = await find_missing(sale.shards, [there, gone, elsewhere, gone], forgotten_before=young)
    assert (found.there, found.gone, found.unknown, found.forgotten, found.asked) == (1, [gone], 1, 0, 3)
    later = at(int(gone[2:14], 16) + 1000)
    found = await find_missing(sale.shards, [there, gone], forgotten_before=later, book=True)
    assert (found.there, found.gone, found.booked, found.forgotten) == (1, [], [], 1)
    assert (await sale.snapshot()).lost == 0


def test_what_cannot_be_read_is_said_and_not_passed_over() -> None:
    """An order whose charge is odd might be the one that is gone."""
    order = new_order_id(0)
    assert list(captures_in(["", order, '{"order_id": "other"}', "7"])) == [Capture(order_id=order)]
    for line in ("{", json.dumps({"order_id": order, "amount": "much"}), json.dumps({"order_id": order, "amount": -1})):
        with pytest.raises(CapturesUnreadableError):
            list(captures_in([line]))
    for line in ("{", "7", '{"events": [7]}', '{"events": 7}'):
        with pytest.raises(CapturesUnreadableError, match="line 1 is neither an event"):
            list(orders_in_events([line]))
    for line in ("{", "[]", '{"resourceSpans": 7}', '{"resourceSpans": [7]}'):
        with pytest.raises(CapturesUnreadableError, match="line 2 is no export"):
            list(orders_in_traces(["{}", line]))


def test_whom_to_ask_must_be_known(tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path), "REDIS_URL": ""}
    assert "--from and --refund go with --against" in flash_sale("audit", "--refund", env=env).stderr
    assert complaint(flash_sale("audit", "--against", "bank", env=env), 1).startswith("no service has ever used")
