"""`orders list`, `show` and `export`: what they print, and that it is what the ledger holds."""

import csv
import io
import json

import pytest
from redis.asyncio import Redis

from service.ledger.orders import Order
from tests.orders.sale import Sale
from tests.support import RedisServer
from tests.support.cli import complaint, flash_sale


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
    rows = list(csv.DictReader(io.StringIO(flash_sale("orders", "export", env=env).stdout)))
    assert [row["order_id"] for row in rows] == ids(orders)[::-1]
    lines = flash_sale("orders", "export", "--format", "ndjson", "--user", "bob", env=env).stdout.splitlines()
    assert [json.loads(line)["order_id"] for line in lines] == [orders[2].order_id]
