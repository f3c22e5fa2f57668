"""Each act of an admin leaves one line: who, what, from where, with what outcome; and no secret."""

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import RedisServer, eventually
from tests.support.http import http_get
from tests.support.service import ADMIN, ADMIN_TOKEN, Fleet

PRODUCT = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": 10}
WHO = hashlib.sha256(ADMIN_TOKEN.encode()).hexdigest()[:8]
USED = {"Idempotency-Key": "used"}


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    """Yield a store that a test may end."""
    with RedisServer("valkey", aof=True) as server:
        yield server


@pytest.fixture(scope="module")
def quiet(store: RedisServer) -> Iterator[Fleet]:
    """Yield a service that writes errors only, sells lamps, and has restocked them once."""
    with Fleet(store.url, workers=0, env={"LOG_LEVEL": "error", "FAULTS_ENABLED": "true"}, wait=False) as fleet:
        eventually(lambda: ready(fleet), 60, "it is ready")
        with fleet.client() as client:
            client.put("/inventory/lamp", json=PRODUCT, headers=ADMIN).raise_for_status()
            restocked = client.post("/inventory/lamp/restock", json={"quantity": 5}, headers={**ADMIN, **USED})
            restocked.raise_for_status()
        eventually(lambda: len(admin_lines(fleet)) == 2, 5, "both lines were written")
        yield fleet


def ready(fleet: Fleet) -> bool:
    try:
        return http_get(f"{fleet.url}/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def admin_lines(fleet: Fleet) -> list[dict[str, Any]]:
    """Return the lines about admins so far."""
    return [line for line in fleet.lines if line.get("logger") == "service.api.admin_log"]


ACTS = [
    ("PUT", "/inventory/lamp", {"json": PRODUCT}, "done"),
    ("PATCH", "/inventory/lamp", {"json": {"price": 1}}, "done"),
    ("PATCH", "/inventory/lamp", {"json": {"price": -1}}, "invalid"),
    ("PATCH", "/inventory/nothing", {"json": {"price": 1}}, "unknown_product"),
    ("PATCH", "/inventory/lamp", {"json": {"price": 2}, "headers": {"If-Match": '"other"'}}, "changed_meanwhile"),
    ("POST", "/inventory/lamp/restock", {"json": {"quantity": 5}}, "done"),
    ("POST", "/inventory/lamp/restock", {"json": {"quantity": 5}, "headers": USED}, "replayed"),
    ("POST", "/inventory/lamp/restock", {"json": {"quantity": 6}, "headers": USED}, "idempotency_conflict"),
    ("POST", "/monitoring/metrics/clear", {}, "done"),
    ("GET", "/monitoring/faults", {}, "done"),
    ("GET", "/orders/export", {}, "done"),
    ("POST", f"/orders/{'0' * 30}/cancel", {}, "unknown_order"),
]


@pytest.mark.parametrize(("method", "path", "sent", "outcome"), ACTS)
def test_an_act_is_written_down_once(quiet: Fleet, method: str, path: str, sent: dict[str, Any], outcome: str) -> None:
    before = len(admin_lines(quiet))
    headers = {"Idempotency-Key": uuid.uuid4().hex, **ADMIN, **sent.get("headers", {})}
    with quiet.client() as client:
        client.request(method, path, **{**sent, "headers": headers})
    eventually(lambda: len(admin_lines(quiet)) > before, 5, "a line was written")
    (line,) = admin_lines(quiet)[before:]
    expected = {"event": "admin act", "who": WHO, "act": f"{method} {path}", "client": "127.0.0.1", "outcome": outcome}
    assert {name: line[name] for name in expected} == expected
    assert "trace_id" in line


def test_a_failure_is_written_down_with_its_kind(quiet: Fleet, store: RedisServer) -> None:
    before = len(admin_lines(quiet))
    store.kill9()
    with quiet.client() as client:
        assert client.put("/inventory/lamp", json=PRODUCT, headers=ADMIN).status_code == 503
    store.start()
    eventually(lambda: len(admin_lines(quiet)) > before, 5, "a line was written")
    (line,) = admin_lines(quiet)[before:]
    assert (line["who"], line["event"]) == (WHO, "admin act")
    assert line["outcome"].endswith("Error")


def test_who_is_no_admin_is_written_down_and_what_was_shown_is_not(quiet: Fleet) -> None:
    before = len(admin_lines(quiet))
    with quiet.client() as client:
        for shown in ({}, {"Authorization": f"Bearer {ADMIN_TOKEN}x"}, {"Authorization": f"Basic {ADMIN_TOKEN}"}):
            assert client.put("/inventory/lamp", json=PRODUCT, headers=shown).status_code == 401
    eventually(lambda: len(admin_lines(quiet)) >= before + 3, 5, "three lines were written")
    found = admin_lines(quiet)[before:]
    assert [(line["event"], line["outcome"]) for line in found] == [("admin turned away", "unauthorized")] * 3
    assert ADMIN_TOKEN not in quiet.log


def test_a_flood_of_strangers_hides_no_act(tmp_path: Path) -> None:
    """Lines that are alike are bounded, and those of strangers are not like an admin's."""
    with Fleet(tmp_path, workers=0) as fleet, fleet.client() as client:
        for _ in range(300):
            client.put("/inventory/lamp", json=PRODUCT)
        for number in range(5):
            client.put("/inventory/lamp", json={**PRODUCT, "price": number}, headers=ADMIN)
        eventually(lambda: len([line for line in admin_lines(fleet) if line["event"] == "admin act"]) == 5, 5, "five")
