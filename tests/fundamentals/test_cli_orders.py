"""`orders list`, `show`, `export` and `refund`: what they print, and that it is what the ledger holds."""

import csv
import io
import json

import pytest
from redis.asyncio import Redis

from service.ledger.orders import Order
from tests.orders.sale import Sale
from tests.support import RedisServer
from tests.support.cli import admin_line, complaint, flash_sale


@pytest.fixture
async def orders(valkey: Redis) -> list[Order]:
    """Place three orders, the last of which is confirmed."""
    sale = await Sale.open(valkey)
    await sale.product("lamp")
    await sale.product("desk")
    placed = [await sale.buy("lamp"), await sale.buy("desk", quantity=2), await sale.buy("lamp", user_id="bob")]
    await sale.take()
    await sale.settle(placed[2], payment_id="p-1")
    return [await sale.order(order) for order in placed]


def ids(orders: list[Order]) -> list[str]:
    """Return the ids, the newest first as the list has them."""
    return [o.order_id for o in sorted(orders, key=lambda o: (o.accepted_at, o.order_id), reverse=True)]


def test_orders_are_listed_and_shown(valkey_server: RedisServer, orders: list[Order]) -> None:
    """In words or as JSON, all or some of them."""
    env = {"REDIS_URL": valkey_server.url}
    done = flash_sale("orders", "list", env=env)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, lines[-1]) == (0, "", "3 orders")
    assert [line.split()[0] for line in lines[:-1]] == ids(orders)
    assert any("2 x desk for ann" in line for line in lines)
    assert max(map(len, lines)) < 120
    some = json.loads(
        flash_sale("orders", "list", "--json", "--product", "lamp", "--status", "confirmed", env=env).stdout
    )
    assert [(row["order_id"], row["payment_id"]) for row in some] == [(orders[2].order_id, "p-1")]
    assert flash_sale("orders", "list", "--limit", "1", env=env).stdout.startswith(ids(orders)[0])
    assert flash_sale("orders", "list", "--since", "2100-01-01", env=env).stdout == "0 orders\n"

    shown = flash_sale("orders", "show", orders[2].order_id, env=env).stdout
    assert "status                  confirmed\n" in shown
    assert json.loads(flash_sale("orders", "show", "--json", orders[2].order_id, env=env).stdout) == some[0]


def test_an_order_that_is_not_there_is_said_so(valkey_server: RedisServer, orders: list[Order]) -> None:
    """Status 1; what is no order id at all is a wrong command line."""
    env = {"REDIS_URL": valkey_server.url}
    missing = flash_sale("orders", "show", "00" + "f" * 28, env=env)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no order 00ff" in missing.stderr
    assert "'x' is not an order id" in complaint(flash_sale("orders", "show", "x", env=env))
    assert len(orders) == 3


def test_orders_are_exported(valkey_server: RedisServer, orders: list[Order]) -> None:
    """The oldest first, in the form that is asked for."""
    env = {"REDIS_URL": valkey_server.url}
    exported = flash_sale("orders", "export", env=env)
    assert admin_line(exported) == ("orders export", "done", None)
    rows = list(csv.DictReader(io.StringIO(exported.stdout)))
    assert [row["order_id"] for row in rows] == ids(orders)[::-1]
    lines = flash_sale("orders", "export", "--format", "ndjson", "--user", "bob", env=env).stdout.splitlines()
    assert [json.loads(line)["order_id"] for line in lines] == [orders[2].order_id]


def test_a_refund_is_written_down_as_an_act_of_an_admin(valkey_server: RedisServer, orders: list[Order]) -> None:
    """Done, or why it was not; and an act whose end nobody knows, by its error."""
    env = {"REDIS_URL": valkey_server.url}
    order_id = orders[2].order_id
    product = "{fs:00}:product:lamp"
    with valkey_server.sync_client() as store:
        store.rename(product, "aside")
        store.set(product, "of another type")
        failed = flash_sale("orders", "refund", order_id, env=env)
        store.rename("aside", product)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert admin_line(failed) == (f"orders refund {order_id}", "ResponseError", None)
    done = flash_sale("orders", "refund", order_id, "--reason", "scratched", env=env)
    assert (done.returncode, done.stdout) == (0, f"{order_id}  refunded  1 of 1 units\n")
    assert admin_line(done) == (f"orders refund {order_id}", "done", {order_id: "refunded"})
    refused = flash_sale("orders", "refund", order_id, env=env)
    assert refused.returncode == 1
    assert admin_line(refused) == (f"orders refund {order_id}", "not_refundable", {order_id: "not_refundable"})
