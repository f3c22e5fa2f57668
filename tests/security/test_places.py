"""Who gets a place when all are taken: probes always, orders as long as somebody is silent."""

import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.security.conftest import SHIRT
from tests.security.test_framing import JSON, ORDER, WS
from tests.security.test_limits import refused
from tests.security.wire import LAST, connected, request, statuses
from tests.support.http import http_get
from tests.support.processes import send_signal
from tests.support.service import ADMIN, Fleet
from tests.support.waiting import eventually

SILENT = 1_500
FILES = 1_024
PROBES = ("/healthz", "/readyz", "/metrics")


@contextmanager
def files(soft: int) -> Iterator[None]:
    """What is started inside may have so many files open, whatever it asks for."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def many(fleet: Fleet, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Open connections that say one thing and then nothing."""
    with ExitStack() as stack, files(5_000):
        opened = []
        for _ in range(count):
            connection = stack.enter_context(connected(fleet.url))
            connection.sendall(sent)
            opened.append(connection)
        yield opened


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A service whose processes may have 1 024 files open, as in many a shell."""
    env = {"CLIENT_TIMEOUT_SECONDS": "60", "MAX_CONNECTIONS": str(FILES - 128), "MONITORING_MAX_CLIENTS": "2000"}
    store: Path = tmp_path_factory.mktemp("narrow")
    with files(FILES), Fleet(store, workers=0, env=env) as fleet, fleet.client() as client:
        client.put("/inventory/shirt", json=SHIRT, headers=ADMIN).raise_for_status()
        yield fleet


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /healthz HTTP/1.1\r\nHost: shop\r\n", request("POST /orders HTTP/1.1", JSON, "Content-Length: 51")],
    ids=["nothing", "half a head", "no body"],
)
def test_silent_connections_make_room(narrow: Fleet, sent: bytes) -> None:
    before = refused(narrow)["evicted"]
    with many(narrow, SILENT, sent) as crowd:
        for path in PROBES:
            assert http_get(narrow.url + path, timeout=10).status_code == 200, path
        assert statuses(narrow.url, request("POST /orders HTTP/1.1", JSON, body=ORDER) + LAST) == [202, 200]
        assert refused(narrow)["evicted"] - before >= SILENT - FILES
        assert len(crowd) == SILENT
    assert "Too many open files" not in narrow.log


def test_idle_connections_make_room_and_those_that_are_served_stay(narrow: Fleet) -> None:
    with connected(narrow.url) as watcher:
        watcher.sendall(request("GET /monitoring HTTP/1.1", *WS))
        assert watcher.recv(12) == b"HTTP/1.1 101"
        with many(narrow, SILENT, request("GET /healthz HTTP/1.1")):
            for path in PROBES:
                assert http_get(narrow.url + path, timeout=10).status_code == 200, path
            watcher.settimeout(10)
            for _ in range(3):
                assert watcher.recv(65536), "the watcher was thrown out"


def test_a_few_places_are_kept_for_probes(narrow: Fleet) -> None:
    """Every place is taken by somebody who is served: probes are answered all the same, others told to wait."""
    with many(narrow, FILES - 128, request("GET /monitoring HTTP/1.1", *WS)) as watchers:
        for watcher in watchers:
            assert watcher.recv(12) == b"HTTP/1.1 101"
        for path in PROBES * 3:
            assert http_get(narrow.url + path, timeout=10).status_code == 200, path
        answer = http_get(f"{narrow.url}/inventory/shirt", timeout=10)
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")
        with many(narrow, 200, b""):  # more than there are places for probes
            eventually(lambda: answered(narrow), 10, "a probe is answered")
    assert "Too many open files" not in narrow.log


def answered(fleet: Fleet) -> bool:
    """Whether a probe is answered."""
    try:
        return http_get(f"{fleet.url}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_a_burst_is_taken_in_at_once(narrow: Fleet) -> None:
    """All wait to be accepted when the process comes to look: it may accept them in one turn of its loop."""
    pid = narrow.pid("api-0")
    send_signal(pid, signal.SIGSTOP)
    try:
        with many(narrow, SILENT, b""):
            send_signal(pid, signal.SIGCONT)
            assert http_get(f"{narrow.url}/healthz", timeout=10).status_code == 200
    finally:
        send_signal(pid, signal.SIGCONT)
    assert "Too many open files" not in narrow.log
