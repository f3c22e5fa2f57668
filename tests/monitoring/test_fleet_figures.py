"""Real processes: what all of them say is what was sent, to the integer, and a killed one takes little with it."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import RedisServer, eventually
from tests.support.http import http_get
from tests.support.service import ADMIN, Fleet

LAMP = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": 50, "per_user_limit": 2}
FLUSHED_SECONDS = 1.0
BUSY_MACHINE_SECONDS = 3.0

Answers = Counter[tuple[int, str]]


@pytest.fixture
def replicas(valkey_server: RedisServer) -> Iterator[list[Fleet]]:
    """Yield two replicas of two API processes each, without order workers, with fifty lamps on sale."""
    with (
        Fleet(valkey_server.url, command="api", api=2, workers=0) as one,
        Fleet(valkey_server.url, command="api", api=2, workers=0) as two,
    ):
        with one.client() as client:
            assert client.put("/inventory/lamp", json=LAMP, headers=ADMIN).status_code == httpx.codes.CREATED
        yield [one, two]


def send(url: str, first: int, orders: int) -> Answers:
    """Send orders on connections of their own, every tenth of them not an order at all; return the answers."""
    seen: Answers = Counter()
    for n in range(first, first + orders):
        body = {"product_id": "lamp", "user_id": f"u{n % 40}", "quantity": 0 if n % 10 == 0 else 1}
        answer = httpx.post(f"{url}/orders", json=body, timeout=30)
        seen[answer.status_code, answer.json().get("code", "")] += 1
    return seen


def scraped(fleets: list[Fleet], name: str, label: str) -> dict[str, float]:
    """Return a plain sum over all targets, by one label."""
    found: defaultdict[str, float] = defaultdict(float)
    for fleet in fleets:
        for family in text_string_to_metric_families(http_get(f"{fleet.url}/metrics", timeout=30).text):
            for sample in family.samples:
                if sample.name == name and sample.labels.get("http_route", "/orders") == "/orders":
                    found[sample.labels[label]] += sample.value
    return dict(found)


def live(fleet: Fleet) -> dict[str, Any]:
    """Return the live figures."""
    body: dict[str, Any] = http_get(f"{fleet.url}/monitoring/metrics", timeout=30).json()
    return body


def orders_served(body: dict[str, Any]) -> dict[int, int]:
    """Return the answers to `POST /orders` by status."""
    return {
        row["status"]: row["count"] for row in body["requests"] if (row["method"], row["route"]) == ("POST", "/orders")
    }


def test_all_processes_of_all_replicas_sum_up_to_what_was_sent(replicas: list[Fleet]) -> None:
    """Windows, refusals and `/metrics` agree with the clients, and every process gives the same answer."""
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(send, replicas[n % 2].url, 100 * n, 100) for n in range(4)]
        seen = sum((job.result() for job in jobs), Counter())
    by_status = {status: sum(n for (s, _), n in seen.items() if s == status) for status, _ in seen}
    refused = {code: n for (_, code), n in seen.items() if code}
    assert sum(by_status.values()) == 400
    assert refused["invalid"] == 40
    for fleet in replicas:
        eventually(lambda fleet=fleet: orders_served(live(fleet)) == by_status, 15, f"the windows say {by_status}")  # type: ignore[misc]
        eventually(
            lambda fleet=fleet: {r: n for r, n in live(fleet)["rejections"].items() if n} == refused,  # type: ignore[misc]
            15,
            f"the refusals are {refused}",
        )
    # Whichever process answers a scrape may have read the ledger a second before the one that was asked above.
    eventually(
        lambda: {r: n for r, n in scraped(replicas, "flash_sale_rejections_total", "reason").items() if n} == refused,
        15,
        f"a scrape of all says {refused}",
    )
    counted = {str(status): n for status, n in by_status.items()}
    name, label = "http_server_request_duration_seconds_count", "http_response_status_code"
    # A process that does not answer its sibling within 0.2 s is missing from that scrape, and only from that one.
    eventually(lambda: scraped(replicas, name, label) == counted, 15, f"a scrape of all says {counted}")

    def everybody_says_so() -> bool:
        told = [orders_served(live(fleet)) for _ in range(8) for fleet in replicas]  # whichever process answers
        return all(served == by_status for served in told)

    eventually(everybody_says_so, 15, "every process says the same")
    for fleet in replicas:
        benchmark = http_get(f"{fleet.url}/monitoring/benchmark?window_seconds=600", timeout=30).json()
        assert benchmark["requests"] >= 400


def test_orders_are_counted_by_their_admission(replicas: list[Fleet]) -> None:
    """With a ticket or without one: exact over the processes of all replicas, refusals, repeats and kills left out."""
    with replicas[0].client() as client:
        phone = {**LAMP, "name": "Phone", "opens_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
        assert client.put("/inventory/phone", json=phone, headers=ADMIN).status_code == httpx.codes.CREATED
        client.patch("/inventory/phone", json={"admission": "ticket"}, headers=ADMIN).raise_for_status()
        asked = {f"u{n}": client.post("/inventory/phone/tickets", json={"user_id": f"u{n}"}).json() for n in range(12)}
        client.patch("/inventory/phone", json={"opens_at": None}, headers=ADMIN).raise_for_status()

    def order(n: int) -> int:
        """Order a phone with the ticket of one user, twice under one key, and without, and a lamp."""
        user, url = f"u{n}", f"{replicas[n % 2].url}/orders"
        key = {"Idempotency-Key": user, "Sale-Ticket": asked[user]["ticket"]}
        phone, lamp = ({"product_id": product, "user_id": user, "quantity": 1} for product in ("phone", "lamp"))
        assert httpx.post(url, json=phone, timeout=30).json()["code"] == "ticket_required"
        with_ticket = [httpx.post(url, json=phone, headers=key, timeout=30).status_code for _ in range(2)]
        assert with_ticket == [httpx.codes.ACCEPTED, httpx.codes.OK]
        return httpx.post(url, json=lamp, headers={"Sale-Ticket": "of-no-account"}, timeout=30).status_code

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(order, range(8)))
    assert answers == [httpx.codes.ACCEPTED] * 8
    replicas[0].wait_for_restart("api-0", replicas[0].kill("api-0"))
    replicas[0].wait_until_ready()
    order(8)
    counted = {"open": 9, "ticket": 9}
    eventually(
        lambda: scraped(replicas, "flash_sale_orders_placed_total", "admission") == counted,
        15,
        f"a scrape of all says {counted}",
    )


def test_a_killed_process_loses_a_second_of_windows_and_no_refusal_of_the_ledger(valkey_server: RedisServer) -> None:
    """The windows miss at most what was served since the last flush; the ledger counted before it answered."""
    answered: list[float] = []
    with Fleet(valkey_server.url, command="api", api=1, workers=0) as fleet:
        stop = threading.Event()

        def refuse_for_ever() -> None:
            with fleet.client() as client:
                while not stop.is_set():
                    try:
                        answer = client.post("/orders", json={"product_id": "ghost", "user_id": "a", "quantity": 1})
                    except httpx.TransportError:
                        return
                    assert answer.status_code == httpx.codes.NOT_FOUND
                    answered.append(time.monotonic())

        sender = threading.Thread(target=refuse_for_ever)
        sender.start()
        try:
            began = time.monotonic()
            enough = FLUSHED_SECONDS + BUSY_MACHINE_SECONDS + 1
            eventually(lambda: answered and answered[-1] - began > enough, 60, "some seconds of refusals")
            killed = fleet.kill("api-0")
            at = time.monotonic()
            sender.join(30)
        finally:
            stop.set()
        fleet.wait_for_restart("api-0", killed)
        fleet.wait_until_ready()
        body = live(fleet)
        assert len(answered) <= body["rejections"]["unknown_product"] <= len(answered) + 1
        old = sum(when < at - FLUSHED_SECONDS - BUSY_MACHINE_SECONDS for when in answered)
        assert 0 < old <= orders_served(body)[404] <= len(answered) + 1


def test_a_process_that_ends_in_order_loses_nothing(valkey_server: RedisServer) -> None:
    """SIGTERM: what was counted since the last second is sent before the end."""
    with Fleet(valkey_server.url, command="api", api=1, workers=0) as first:
        answers = send(first.url, 0, 25)
        assert first.terminate() == 0
    with Fleet(valkey_server.url, command="api", api=1, workers=0) as second:
        body = live(second)
    assert sum(orders_served(body).values()) == 25 == sum(answers.values())
    assert {reason: n for reason, n in body["rejections"].items() if n} == {"invalid": 3, "unknown_product": 22}
