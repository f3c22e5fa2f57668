"""`audit` and `dead-letters`: what they print, what their status says, where they look."""

import json
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from service.ledger.orders import Status
from tests.orders.sale import AT_ONCE, Sale
from tests.orders.test_migration import older
from tests.support import RedisServer, eventually
from tests.support.cli import admin_line, complaint, flash_sale
from tests.support.service import ADMIN, Fleet
from tests.support.shop import PRODUCT

CLEAN_LINES = ("ok      units_add_up", "ok      totals_match_orders", "\nclean\n")


def order(client: httpx.Client, product_id: str = "sticker-pack", quantity: int = 1) -> str:
    """Order something and return the id."""
    answer = client.post("/orders", json={"product_id": product_id, "user_id": "ada", "quantity": quantity})
    assert answer.status_code == 202, answer.text
    order_id: str = answer.json()["order_id"]
    return order_id


def wait_for_status(client: httpx.Client, order_id: str, status: str) -> None:
    """Wait until an order has a status."""
    eventually(lambda: client.get(f"/orders/{order_id}").json()["status"] == status, 20, f"the order is {status}")


def test_audit_of_a_sale_that_is_going_on(valkey_server: RedisServer) -> None:
    """Status 0, a line for each invariant, and how many orders reached what."""
    with Fleet(valkey_server.url) as fleet, fleet.client() as client:
        wait_for_status(client, order(client), "confirmed")
        done = flash_sale("audit", env={"REDIS_URL": valkey_server.url})
    assert (done.returncode, done.stderr) == (0, ""), done
    assert [line for line in CLEAN_LINES if line not in done.stdout] == []
    assert "6 products, 1 orders; reached: 1 pending, 1 confirmed, 0 failed, 0 expired, 0 cancelled" in done.stdout


def test_audit_of_broken_books(valkey_server: RedisServer) -> None:
    """Status 1 and the figures that do not fit; the same in JSON."""
    with Fleet(valkey_server.url) as fleet, fleet.client() as client:
        wait_for_status(client, order(client), "confirmed")
    with valkey_server.sync_client() as store:
        store.hincrby("{fs:00}:product:sticker-pack", "stock", 3)
    done = flash_sale("audit", env={"REDIS_URL": valkey_server.url})
    assert (done.returncode, done.stderr) == (1, "")
    assert "BROKEN  units_add_up" in done.stdout
    assert "sticker-pack: -3 units unexplained" in done.stdout
    assert "1 breaches" in done.stdout
    as_json = flash_sale("audit", "--json", env={"REDIS_URL": valkey_server.url})
    report = json.loads(as_json.stdout)
    assert (as_json.returncode, report["clean"], report["orders_stored"]) == (1, False, 1)
    assert report["invariants"]["units_add_up"] == ["sticker-pack: -3 units unexplained"]
    assert report["invariants"]["totals_match_orders"] == []


async def test_audit_tells_of_orders_that_were_forgotten(valkey_server: RedisServer, valkey: Redis) -> None:
    """By the status that they had; without any, nothing is said of them."""
    env = {"REDIS_URL": valkey_server.url}
    sale = await Sale.open(valkey)
    await sale.product()
    for number, user in enumerate(("ann", "bob", "cid")):
        bought = await sale.buy(user_id=user)
        await sale.take()
        await sale.settle(bought, Status.FAILED if number == 0 else Status.CONFIRMED)
    before = flash_sale("audit", env=env)
    assert (before.returncode, "forgotten after" in before.stdout) == (0, False)
    assert await sale.under(retention=AT_ONCE).ledger.forget(0) == 3
    done = flash_sale("audit", env=env)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "1 products, 0 orders; reached: 3 pending, 2 confirmed, 1 failed" in done.stdout
    assert "\nforgotten after their retention: 2 confirmed, 1 failed\nclean\n" in done.stdout
    report = json.loads(flash_sale("audit", "--json", env=env).stdout)
    assert (report["clean"], report["orders_forgotten"]) == (True, {"confirmed": 2, "failed": 1})


def test_audit_of_the_embedded_store(tmp_path: Path) -> None:
    """With a service on it and without one; the orders are those of the service, and stay."""
    env = {"DATA_DIR": str(tmp_path), "REDIS_URL": ""}
    with Fleet(tmp_path) as fleet, fleet.client() as client:
        order_id = order(client)
        wait_for_status(client, order_id, "confirmed")
        beside = flash_sale("audit", env=env)
        assert fleet.terminate() == 0
    alone = flash_sale("audit", env=env)
    assert beside.stdout == alone.stdout
    assert (beside.returncode, alone.returncode, alone.stderr) == (0, 0, "")
    assert "6 products, 1 orders" in alone.stdout
    with Fleet(tmp_path) as fleet, fleet.client() as client:
        assert client.get(f"/orders/{order_id}").json()["status"] == "confirmed"


def test_a_second_service_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    """One line; the first is not disturbed."""
    with Fleet(tmp_path) as fleet, fleet.client() as client:
        line = complaint(flash_sale("run", env={"DATA_DIR": str(tmp_path), "REDIS_URL": "", "PORT": "0"}))
        assert str(tmp_path) in line
        assert client.get("/readyz").status_code == 200


def test_audit_of_a_store_that_is_not_there() -> None:
    """Status 1 and one line: nothing is known."""
    assert complaint(flash_sale("audit", env={"REDIS_URL": "redis://127.0.0.1:1"}), 1)


@pytest.fixture
def dead(valkey_server: RedisServer) -> list[str]:
    """Return the ids of two dead letters in the store; no service runs on it."""
    env = {"PAYMENT_ERROR_RATE": "1", "PAYMENT_ATTEMPTS": "1", "ORDER_ATTEMPTS": "1", "ORDER_RETRY_SECONDS": "0"}
    with Fleet(valkey_server.url, env=env) as fleet, fleet.client() as client:
        client.put("/inventory/lamp", json=PRODUCT, headers=ADMIN)
        ids = []
        for quantity in (2, 3):
            ids.append(order(client, "lamp", quantity))
            wait_for_status(client, ids[-1], "failed")
        queue = client.get("/orders/queue").json()
        assert queue["dead_letters"] == 2
    return ids


def units(server: RedisServer) -> tuple[int, int]:
    """Return the stock and the held units of the lamp."""
    with server.sync_client() as store:
        product = store.hgetall("{fs:00}:product:lamp")
    assert isinstance(product, dict)
    return int(product["stock"]), int(product["held"])


def test_dead_letters_are_listed_requeued_and_dropped(valkey_server: RedisServer, dead: list[str]) -> None:
    """Requeued with their units held anew, or dropped for good; the books are in order throughout."""
    first, second = dead
    env = {"REDIS_URL": valkey_server.url}
    listed = flash_sale("dead-letters", "list", env=env)
    lines = listed.stdout.splitlines()
    assert (listed.returncode, lines[-1]) == (0, "2 dead letters")
    assert [line.split()[0] for line in lines[:2]] == [first, second]
    assert "2 x lamp for ada" in lines[0]
    rows = json.loads(flash_sale("dead-letters", "list", "--json", env=env).stdout)
    assert [(row["order_id"], row["quantity"], row["attempts"]) for row in rows] == [(first, 2, 1), (second, 3, 1)]
    assert units(valkey_server) == (10, 0)

    requeued = flash_sale("dead-letters", "requeue", first, env=env)
    assert (requeued.returncode, requeued.stdout) == (0, f"{first}  requeued\n1 requeued\n")
    assert admin_line(requeued) == (f"dead-letters requeue {first}", "done", {first: "requeued"})
    assert units(valkey_server) == (8, 2)
    again = flash_sale("dead-letters", "requeue", first, env=env)
    assert again.returncode == 1
    assert again.stdout.endswith("0 requeued\n")
    assert admin_line(again) == (f"dead-letters requeue {first}", "not_dead", {first: "not_dead"})

    dropped = flash_sale("dead-letters", "drop", "--all", env={**env, "LOG_LEVEL": "error"})
    assert (dropped.returncode, dropped.stdout) == (0, f"{second}  dropped\n1 dropped\n")
    assert admin_line(dropped) == ("dead-letters drop --all", "done", {second: "dropped"})
    assert flash_sale("dead-letters", "list", env=env).stdout == "0 dead letters\n"
    assert flash_sale("dead-letters", "drop", second, env=env).returncode == 1
    audited = flash_sale("audit", env=env)
    assert audited.returncode == 0
    reached = "3 pending, 0 confirmed, 2 failed, 0 expired, 0 cancelled, 0 refunded, 1 requeued"
    assert f"2 orders; reached: {reached}\n" in audited.stdout
    with Fleet(valkey_server.url) as fleet, fleet.client() as client:
        wait_for_status(client, first, "confirmed")
        assert client.get(f"/orders/{second}").json()["status"] == "failed"
    assert flash_sale("audit", env=env).returncode == 0


def test_what_is_no_order_id_is_said_so(valkey_server: RedisServer) -> None:
    """Status 2, and nothing is done to the others."""
    for bad in ("x", "{fs:00}:queue", "99" + "0" * 28):
        line = complaint(flash_sale("dead-letters", "drop", "0" * 30, bad, env={"REDIS_URL": valkey_server.url}))
        assert f"{bad!r} is not an order id" in line


def test_a_crowd_brings_its_own_sale(valkey_server: RedisServer) -> None:
    """`crowd --demo` puts the demo on sale where nothing is, and only there."""
    env = {"REDIS_URL": valkey_server.url}
    with Fleet(valkey_server.url, command="api", workers=0) as fleet, fleet.client() as client:
        assert client.get("/inventory").json()["products"] == []
        arguments = ("crowd", "--demo", "--orders", "20", "--rate", "0", "--json", "--url", fleet.url)
        first = flash_sale(*arguments, env=env)
        assert first.returncode == 0, first.stderr
        assert json.loads(first.stdout)["accepted"] > 0
        products = client.get("/inventory").json()["products"]
        assert len(products) == 6
        assert flash_sale(*arguments, env=env).returncode == 0
        again = client.get("/inventory").json()["products"]
        assert [p["initial_stock"] for p in again] == [p["initial_stock"] for p in products]


async def test_a_store_of_an_older_form_is_migrated(valkey: Redis, valkey_server: RedisServer) -> None:
    """Every other command refuses it and says how to bring it forward; a second time there is nothing to do."""
    await older(valkey)
    await valkey.hset("{fs:01}:totals", "archived:confirmed", 2)
    env = {"REDIS_URL": valkey_server.url, "STORE_SHARDS": "3"}
    refused = complaint(flash_sale("audit", env=env), 2)
    assert refused.endswith("an older one is brought forward by `flash-sale migrate`")
    await valkey.config_set("maxmemory", "1")
    failed = flash_sale("migrate", env=env)
    assert (failed.returncode, admin_line(failed)) == (1, ("migrate", "OutOfMemoryError", None))
    await valkey.config_set("maxmemory", "0")
    done = flash_sale("migrate", env=env)
    assert (done.returncode, json.loads(done.stderr)["act"]) == (0, "migrate")
    assert done.stdout.splitlines()[1:] == [
        "form 3 -> 4: 240 orders listed in 3 shards",
        "revenue lacks 2 orders that were forgotten before: what they earned is not known",
    ]
    again = json.loads(flash_sale("migrate", "--json", env=env).stdout)
    assert {name: again[name] for name in ("from", "to", "orders")} == {"from": "4", "to": "4", "orders": 0}
    await valkey.hset("{fs:00}:settings", "form", "5")
    assert "holds orders in form 5" in complaint(flash_sale("migrate", env=env), 2)
    assert "no service has ever used the store" in complaint(flash_sale("migrate", env=env | {"STORE_PREFIX": "x"}), 1)
