"""An end in order behind a load balancer: told to end, the API says so to those that probe it, and resets nobody."""

import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from time import perf_counter

import httpx
import pytest

from tests.security.wire import connected, received, request
from tests.support.http import http_get
from tests.support.service import ADMIN, Fleet
from tests.support.waiting import eventually

DRAIN_SECONDS = 4.0
AT_ONCE_SECONDS = 20.0
"""Of a busy machine, where the drain would take a minute."""
DRAINS = "not ready any more, serving on"
LAMP = {"name": "Lamp", "price": 1, "currency": "EUR", "stock": 100_000, "per_user_limit": None}
ORDER = {"product_id": "lamp", "user_id": "ada", "quantity": 1}
GET = request("GET /inventory/lamp HTTP/1.1")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, command="api", api=2, env={"DRAIN_SECONDS": str(DRAIN_SECONDS)}) as running:
        with running.client(headers=ADMIN) as client:
            client.put("/inventory/lamp", json=LAMP).raise_for_status()
        yield running


def test_it_answers_on_while_it_says_that_it_ends(fleet: Fleet) -> None:
    """Not ready at once; each answer ends its connection; one that stays idle is closed, in order, when it is over."""
    url = fleet.url
    with fleet.client() as used, connected(url) as idle, connected(url) as late:
        assert "connection" not in used.get("/healthz").headers
        idle.sendall(GET)
        late.sendall(GET)
        assert status_of(idle) == status_of(late) == httpx.codes.OK
        began = perf_counter()
        fleet.program.process.send_signal(signal.SIGTERM)
        eventually(lambda: http_get(f"{url}/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE, 5, "not ready")
        assert http_get(f"{url}/readyz").json()["code"] == "overloaded"
        assert http_get(f"{url}/healthz").status_code == httpx.codes.OK
        answer = used.post("/orders", json=ORDER)
        assert (answer.status_code, answer.headers["connection"]) == (httpx.codes.ACCEPTED, "close")
        late.sendall(GET)
        assert b"connection: close" in received(late), "an answer, and the end"
        assert perf_counter() - began < DRAIN_SECONDS, "all of this was said while it drained"
        assert idle.recv(1) == b"", "closed, not reset"
        assert perf_counter() - began >= DRAIN_SECONDS
        eventually(lambda: refused(url), 5, "the other process has stopped listening, too, and so has the parent")
    assert fleet.program.process.wait(10) == 0
    assert "Traceback" not in fleet.log


def status_of(connection: socket.socket) -> int:
    """Read one answer, however many pieces it comes in, and return its status."""
    answer = HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def refused(url: str) -> bool:
    try:
        with connected(url):
            return False
    except ConnectionRefusedError:
        return True


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM)])
def test_whoever_is_in_a_hurry_waits_for_nobody(tmp_path: Path, signals: tuple[signal.Signals, ...]) -> None:
    """Ctrl-C, and any second signal."""
    with Fleet(tmp_path, command="api", env={"DRAIN_SECONDS": "60"}) as fleet:
        url = fleet.url
        for number in signals[:-1]:
            fleet.program.process.send_signal(number)
            eventually(lambda: http_get(f"{url}/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE, 5, "told")
        began = perf_counter()
        assert fleet.terminate(signals[-1]) == 0
        assert perf_counter() - began < AT_ONCE_SECONDS
        assert (DRAINS in fleet.log) == (len(signals) > 1)
        assert "role killed" not in fleet.log


@pytest.mark.parametrize(("setting", "drains"), [("", False), ("60", True)])
def test_everything_in_one_command_drains_only_if_told_to(tmp_path: Path, setting: str, drains: bool) -> None:
    """Nobody in front of it has another one to turn to; who has says so."""
    with Fleet(tmp_path, env={"DRAIN_SECONDS": setting}) as fleet, fleet.client() as client:
        fleet.program.process.send_signal(signal.SIGTERM)
        if drains:
            eventually(lambda: client.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE, 5, "it drains")
            assert client.get("/monitoring/health").json()["status"] == "ok", "orders are worked off meanwhile"
            fleet.program.process.send_signal(signal.SIGTERM)
        assert fleet.program.process.wait(AT_ONCE_SECONDS) == 0
        assert (DRAINS in fleet.log) == drains


def test_who_gets_through_at_the_very_end_is_answered(tmp_path: Path) -> None:
    """Without any drain: a connection that the kernel took is served, and after the last one it takes none.

    One may come in the instant between the last that is taken in and the end of listening: the kernel resets it.
    """
    over = threading.Event()
    found: Counter[str] = Counter()
    with Fleet(tmp_path, command="api", api=2) as fleet:
        url = fleet.url
        threads = [threading.Thread(target=storm, args=(url, over, found)) for _ in range(16)]
        for thread in threads:
            thread.start()
        eventually(lambda: found["answered"] > 100, 20, "all of them are busy")
        assert fleet.terminate() == 0
        over.set()
        for thread in threads:
            thread.join()
    assert found.keys() <= {"answered", "ConnectionRefusedError", "ConnectionResetError"}
    assert found["ConnectionResetError"] <= 1


def storm(url: str, over: threading.Event, found: Counter[str]) -> None:
    """Ask again and again, each time over a new connection, and count what became of it."""
    while not over.is_set():
        try:
            with connected(url) as connection:
                connection.sendall(request("GET /healthz HTTP/1.1", "Connection: close"))
                answer = connection.recv(65536)
            found["answered" if answer.startswith(b"HTTP/1.1 200") else "cut short"] += 1
        except OSError as error:
            found[type(error).__name__] += 1
