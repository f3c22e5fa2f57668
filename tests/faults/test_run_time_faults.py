"""Faults that an admin switches on at run time: every process has them soon, and none without the setting."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.faults import Fault
from service.ledger.snapshot import STALE_SECONDS
from tests.support import RedisServer, eventually
from tests.support.counts import injected
from tests.support.service import ADMIN, Fleet

SOON_SECONDS = 20
STOCK = 1_000_000
"""So many that tests which order for as long as they wait sell none out."""
LAMP = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": STOCK}


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Two API processes and a worker that may be broken, with a lamp on sale; the tests of this module share it."""
    env = {"FAULTS_ENABLED": "true", "ORDER_ATTEMPTS": "2", "ORDER_RETRY_SECONDS": "0.1"}
    with RedisServer() as store, Fleet(store.url, api=2, workers=1, env=env) as running:
        with running.client(headers=ADMIN) as admin:
            admin.put("/inventory/lamp", json=LAMP).raise_for_status()
        yield running


@pytest.fixture
def admin(fleet: Fleet) -> Iterator[httpx.Client]:
    """A client of the admin's, which opens a connection for each request, so that each process answers some."""
    with fleet.client(headers={**ADMIN, "Connection": "close"}) as client:
        yield client
        client.delete("/monitoring/faults").raise_for_status()


def switch(admin: httpx.Client, fault: Fault, **strike: Any) -> None:
    """Switch a fault on."""
    injected(lasts=True)
    answer = admin.put(f"/monitoring/faults/{fault}", json=strike)
    assert answer.status_code == httpx.codes.OK, answer.text


def order(client: httpx.Client) -> httpx.Response:
    """Order a lamp."""
    return client.post("/orders", json={"product_id": "lamp", "user_id": "ada", "quantity": 1})


def ended(client: httpx.Client) -> dict[str, Any]:
    """Order a lamp, wait until the order is settled, and return it."""
    placed = eventually(
        lambda: answer if (answer := order(client)).status_code == httpx.codes.ACCEPTED else None,
        SOON_SECONDS,
        "an order is accepted",
    )
    assert placed
    path = f"/orders/{placed.json()['order_id']}"

    def settled() -> dict[str, Any] | None:
        body: dict[str, Any] = client.get(path).json()
        return None if body["status"] in ("pending", "processing") else body

    return eventually(settled, SOON_SECONDS, "the order is settled") or {}


def value(client: httpx.Client, name: str, **labels: str) -> float:
    """Return the sum of a series over all processes; -1 when it is not there."""
    text = client.get("/metrics").text
    found = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found) if found else -1


def test_without_the_setting_there_are_no_faults(valkey_server: RedisServer) -> None:
    """And one that another fleet switched on in the same store strikes nobody here."""
    valkey_server.sync_client().set("{fs:00}:fault:api_errors", '{"share": 1.0}')
    with Fleet(valkey_server.url, workers=0) as fleet, fleet.client(headers=ADMIN) as client:
        assert client.get("/monitoring/faults").status_code == httpx.codes.NOT_FOUND
        assert client.put("/monitoring/faults/api_errors", json={}).status_code == httpx.codes.NOT_FOUND
        assert "/monitoring/faults" not in client.get("/openapi.json").json()["paths"]
        assert {client.get("/inventory").status_code for _ in range(20)} == {httpx.codes.OK}


def test_only_the_admin_switches_and_only_what_there_is(fleet: Fleet, admin: httpx.Client) -> None:
    with fleet.client() as anybody:
        assert anybody.get("/monitoring/faults").status_code == httpx.codes.UNAUTHORIZED
        assert anybody.put("/monitoring/faults/oversell", json={}).status_code == httpx.codes.UNAUTHORIZED
        assert anybody.delete("/monitoring/faults").status_code == httpx.codes.UNAUTHORIZED
    for path, body in (("meteor", {}), ("oversell", {"share": 2}), ("oversell", {"ttl_seconds": 10**6})):
        answer = admin.put(f"/monitoring/faults/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    listed = admin.get("/monitoring/faults").json()["faults"]
    assert [entry["fault"] for entry in listed] == list(Fault)
    assert {entry["strike"] for entry in listed} == {None}


def test_every_process_has_a_fault_until_it_is_switched_off(admin: httpx.Client) -> None:
    switch(admin, Fault.API_ERRORS)
    eventually(lambda: {order(admin).status_code for _ in range(12)} == {500}, SOON_SECONDS, "all processes have it")
    assert admin.get("/monitoring/health").status_code == httpx.codes.OK, "what watches is not hit"
    admin.delete(f"/monitoring/faults/{Fault.API_ERRORS}").raise_for_status()
    eventually(lambda: {order(admin).status_code for _ in range(12)} == {202}, SOON_SECONDS, "none has it")


def test_a_fault_ends_by_itself_and_one_may_be_of_a_single_process(admin: httpx.Client) -> None:
    switch(admin, Fault.STORE_OUTAGE, worker="api-1", ttl_seconds=8)
    seen: set[int] = set()

    def both() -> bool:
        seen.add(order(admin).status_code)  # the kernel gives it to any process, and often to the same
        return seen == {202, 503}

    eventually(both, SOON_SECONDS, "one of two processes has it")
    eventually(lambda: {order(admin).status_code for _ in range(30)} == {202}, SOON_SECONDS, "its time is over")


def test_a_process_that_has_lost_the_store_answers_scrapes_with_the_ledgers_series(admin: httpx.Client) -> None:
    """They are its sibling's, once; the age of its own snapshot says what it has lost."""
    switch(admin, Fault.STORE_OUTAGE, worker="api-1", ttl_seconds=60)
    age, lamp = "flash_sale_snapshot_age_seconds", {"product_id": "lamp"}
    eventually(lambda: value(admin, age, worker="api-1") > STALE_SECONDS, SOON_SECONDS, "it has lost the store")
    scrapes = [admin.get("/metrics").text for _ in range(20)]  # each process answers some
    assert [text.count('\nflash_sale_inventory_levels{product_id="lamp"} ') for text in scrapes] == [1] * 20
    assert value(admin, age, worker="api-0") < STALE_SECONDS
    assert value(admin, "flash_sale_inventory_levels", **lamp) > 0


def test_a_slow_api_is_slow_inside_its_own_measurement(admin: httpx.Client) -> None:
    switch(admin, Fault.API_DELAY, seconds=0.6)

    def slow() -> bool:
        begun = time.monotonic()
        order(admin)
        return time.monotonic() - begun > 0.6

    eventually(slow, SOON_SECONDS, "an order is slow")
    labels = {"http_route": "/orders", "http_request_method": "POST"}
    count, name = "http_server_request_duration_seconds_count", "http_server_request_duration_seconds_bucket"
    eventually(
        lambda: value(admin, count, **labels) > value(admin, name, le="0.25", **labels), SOON_SECONDS, "it is measured"
    )


def test_the_books_are_only_said_to_be_wrong(admin: httpx.Client) -> None:
    lamp = {"product_id": "lamp"}
    switch(admin, Fault.LEDGER_DRIFT)
    eventually(lambda: value(admin, "flash_sale_drift", **lamp) == 1, SOON_SECONDS, "the drift is exported")
    switch(admin, Fault.OVERSELL)
    eventually(lambda: value(admin, "flash_sale_inventory_levels", **lamp) == -1, SOON_SECONDS, "stock is below 0")
    real = admin.get("/inventory/lamp").json()
    assert (real["initial_stock"], real["restocked"]) == (STOCK, 0)
    assert real["stock"] + real["held"] + real["sold"] == STOCK
    admin.delete("/monitoring/faults").raise_for_status()
    eventually(lambda: value(admin, "flash_sale_drift", **lamp) == 0, SOON_SECONDS, "all is well")
    eventually(lambda: value(admin, "flash_sale_inventory_levels", **lamp) > 0, SOON_SECONDS, "all is well")


@pytest.mark.parametrize(
    ("fault", "result", "status"),
    [(Fault.PAYMENT_OUTAGE, "unavailable", "failed"), (Fault.PAYMENT_DECLINES, "declined", "failed")],
)
def test_workers_have_faults_of_payments(admin: httpx.Client, fault: Fault, result: str, status: str) -> None:
    switch(admin, fault)
    name = "flash_sale_payment_charges_total"
    eventually(
        lambda: ended(admin)["status"] == status and value(admin, name, result=result) >= 1,
        SOON_SECONDS,
        "orders fail, and it is counted",
    )


def test_a_stalled_worker_is_alive_and_gets_on_when_the_fault_is_over(admin: httpx.Client) -> None:
    eventually(lambda: ended(admin)["status"] == "confirmed", SOON_SECONDS, "no fault is on")
    switch(admin, Fault.PAYMENT_STALL)
    eventually(lambda: order(admin) and value(admin, "flash_sale_worker_progress_age_seconds") > 2, 60, "it stalls")
    assert value(admin, "flash_sale_workers") == 1
    admin.delete("/monitoring/faults").raise_for_status()
    eventually(lambda: value(admin, "flash_sale_queue_length") == 0, 60, "all orders are settled")
    eventually(lambda: value(admin, "flash_sale_worker_progress_age_seconds") < 2, SOON_SECONDS, "it gets on")


def test_a_misused_instrument_is_counted_and_harms_no_order(admin: httpx.Client) -> None:
    switch(admin, Fault.TELEMETRY_MISUSE)
    dropped = {"instrument": "flash_sale.payment.charges", "worker": "order-0"}
    eventually(
        lambda: ended(admin) and value(admin, "telemetry_observations_dropped_total", **dropped) >= 1,
        SOON_SECONDS,
        "it is counted",
    )
    assert ended(admin)["status"] == "confirmed"
