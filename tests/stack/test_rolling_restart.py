"""Each replica and the worker are replaced in turn, in mid-sale, behind the front: no shopper notices."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from deploy.stack import Stack
from tests.stack.sale import LAMP, Sale
from tests.support import eventually, executable
from tests.support.http import http_get

PARTS = ("redis", "api-1", "api-2", "worker", "front")
CLIENTS = 16


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return both replicas behind the front, and the worker; what drains does so for long enough to be seen."""
    executable("nginx")
    with Stack(tmp_path_factory.mktemp("rolling"), parts=PARTS, variables={"DRAIN_SECONDS": "1"}) as running:
        yield running


@contextmanager
def shoppers(url: str) -> Iterator[Counter[str]]:
    """Let clients order without a pause, over connections that they keep; nobody sends anything twice."""
    over = threading.Event()
    told: Counter[str] = Counter()

    def shop(number: int) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            while not over.is_set():
                order = {"product_id": "lamp", "user_id": f"shopper-{number}", "quantity": 1}
                try:
                    told[str(client.post("/orders", json=order).status_code)] += 1
                except httpx.TransportError as error:
                    told[type(error).__name__] += 1

    threads = [threading.Thread(target=shop, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_no_request_is_reset_while_all_are_replaced(stack: Stack) -> None:
    with Sale(stack) as sale:
        sale.offer("lamp", {**LAMP, "stock": 1_000_000, "per_user_limit": None})
    with shoppers(stack.url("front")) as told:
        eventually(lambda: told["202"] > CLIENTS, 20, "all of them order")
        for name in ("api-1", "worker", "api-2"):
            before = told["202"]
            stack.restart(name)
            eventually(lambda before=before: told["202"] > before + CLIENTS, 20, "they order on")  # type: ignore[misc]
    assert dict(told) == {"202": told["202"]}

    def settled() -> bool:
        orders = http_get(f"{stack.url('front')}/monitoring/metrics", timeout=10).json()["orders"]
        return bool(orders["pending"] == told["202"] == orders["confirmed"] + orders["failed"])

    eventually(settled, 60, "each order is there once, and is settled")
    assert "role killed" not in "".join(stack.log(name) for name in ("api-1", "api-2", "worker"))
