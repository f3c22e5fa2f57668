"""Requests that are answered or given up before they are whole, and connections whose client does not read."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.security.conftest import CLIENT_SECONDS, SHIRT
from tests.security.test_framing import JSON, ORDER
from tests.security.test_limits import refused
from tests.security.wire import LAST, connected, exchange, next_answer, request, statuses
from tests.support.http import http_get
from tests.support.service import ADMIN, Fleet
from tests.support.waiting import eventually

PLACES = 60
TOO_LONG = "0" * 5000


def placed(fleet: Fleet) -> int:
    """Return how many orders the ledger has accepted."""
    with fleet.client() as client:
        product = client.get("/inventory/shirt").raise_for_status().json()
    return int(product["held"] + product["sold"])


@pytest.mark.parametrize("end", ["time", "half", "close"])
@pytest.mark.parametrize("head", [(JSON,), (JSON.replace("json", "json; charset=utf-8"),)], ids=["fast", "ordinary"])
def test_half_a_body_places_no_order(fleet: Fleet, end: str, head: tuple[str, ...]) -> None:
    """What came is a whole order by itself; the client has said that more belongs to it."""
    before = placed(fleet)
    sent = request("POST /orders HTTP/1.1", *head, "Content-Length: 500") + ORDER
    if end == "time":
        assert [answer.status for answer in exchange(fleet.url, sent)] == [408]
    elif end == "half":
        assert exchange(fleet.url, sent, half_close=True) == []
    else:
        with connected(fleet.url) as connection:
            connection.sendall(sent)
    with fleet.client() as client:  # the queue of the event loop is a first-come one: what was sent has been looked at
        assert client.get("/healthz").status_code == 200
    assert statuses(fleet.url, request("POST /orders HTTP/1.1", JSON, body=ORDER) + LAST) == [202, 200]
    assert placed(fleet) == before + 1


@pytest.mark.parametrize("body", [b"1\r\nx\r\nzz\r\n", b"1\r\nx\r\n" + b"f" * 17, b"1\r\nxx\r\n0\r\n\r\n"])
@pytest.mark.parametrize("first", [b"", request("GET /inventory HTTP/1.1") * 3], ids=["alone", "behind others"])
def test_a_body_that_is_refused_in_its_middle_is_given_up_once(fleet: Fleet, first: bytes, body: bytes) -> None:
    """Whether its client hangs up then, or goes on: that is no error of ours, which the log would tell."""
    sent = first + request("POST /orders HTTP/1.1", JSON, "Transfer-Encoding: chunked") + body
    errors = len(errors_of(fleet))
    for half_close in (False, True):
        assert statuses(fleet.url, sent, half_close=half_close) == [200] * (3 * bool(first)) + [400]
    with fleet.client() as client:  # the connections above were looked at before
        assert client.get("/healthz").status_code == 200
    assert errors_of(fleet)[errors:] == []


def test_the_time_of_a_body_that_was_given_up_ends_no_other_request(fleet: Fleet) -> None:
    """The client has half-closed in its middle, and waits for the answers to what it had asked before."""
    token = f"Authorization: {ADMIN['Authorization']}"
    slow = request(f"GET /events?wait={2 * CLIENT_SECONDS:g} HTTP/1.1", token)
    half = request("POST /orders HTTP/1.1", JSON, "Content-Length: 500") + ORDER
    sent = slow + request("GET /healthz HTTP/1.1") + half
    assert [answer.status for answer in exchange(fleet.url, sent, half_close=True)] == [200, 200]


def errors_of(fleet: Fleet) -> list[object]:
    """Return what the service has written of errors of its own."""
    return [line for line in fleet.lines if line["level"] == "error"]


@pytest.mark.parametrize("path", ["/orders", "/nope", "/inventory/shirt"])
@pytest.mark.parametrize("digits", [TOO_LONG + "5", "9" * 20, TOO_LONG])
def test_a_length_of_thousands_of_digits_is_none(fleet: Fleet, path: str, digits: str) -> None:
    assert statuses(fleet.url, request(f"POST {path} HTTP/1.1", JSON, f"Content-Length: {digits}")) == [400]


def test_an_empty_line_after_an_answer_begins_no_request(fleet: Fleet) -> None:
    """Some clients send one; the connection is idle as before, for as long as an idle one may be."""
    before = refused(fleet)["request_timeout"]
    with connected(fleet.url) as connection:
        connection.sendall(request("GET /healthz HTTP/1.1"))
        assert next_answer(connection).status == 200
        connection.sendall(b"\r\n")
        connection.settimeout(2 * CLIENT_SECONDS)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.sendall(LAST)
        connection.settimeout(20)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert refused(fleet)["request_timeout"] == before


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A service with few places, whose clients may take their time."""
    env = {"CLIENT_TIMEOUT_SECONDS": "4", "KEEP_ALIVE_SECONDS": "2", "MAX_CONNECTIONS": str(PLACES)}
    store: Path = tmp_path_factory.mktemp("small")
    with Fleet(store, workers=0, env=env) as fleet, fleet.client() as client:
        client.put("/inventory/shirt", json=SHIRT, headers=ADMIN).raise_for_status()
        yield fleet


@pytest.mark.parametrize("body", [b"", b"x", b"xx"], ids=["no body", "half a body", "a body in the end"])
def test_who_was_answered_before_the_body_makes_room(small: Fleet, body: bytes) -> None:
    """A refusal needs no body; whoever then keeps it back, or sends it byte by byte, holds no place against others."""
    early = request("POST /nope HTTP/1.1", "Content-Length: 2")
    before = refused(small)["evicted"]
    with ExitStack() as stack:
        for _ in range(PLACES):
            connection = stack.enter_context(connected(small.url))
            connection.sendall(early)
            assert next_answer(connection).status == 404
            connection.sendall(body)
        assert http_get(f"{small.url}/inventory/shirt").status_code == 200
        assert refused(small)["evicted"] > before


def test_who_does_not_read_is_not_idle_for_ever(small: Fleet) -> None:
    """Whatever is unread, in buffers of the kernel or a little in those of the server, the client's time ends it."""
    with ExitStack() as stack:
        ports = set()
        for count in range(35, 35 + PLACES - 5):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
            address = httpx.URL(small.url)
            connection.connect((address.host, address.port))
            connection.sendall(request("GET /openapi.json HTTP/1.1") * count)
            ports.add(connection.getsockname()[1])
        eventually(lambda: not ports & held_by(small), 2 + 4 + 4 + 10, "the server has let go of all connections")


def held_by(fleet: Fleet) -> set[int]:
    """Return the client's ports of all connections that the server's process has open."""
    found = set()
    for link in Path(f"/proc/{fleet.pid('api-0')}/fd").iterdir():
        try:
            found.add(link.readlink().name.partition("[")[2].rstrip("]"))
        except FileNotFoundError:  # closed meanwhile
            continue
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].partition(":")[2], 16) for row in rows if row[9] in found}
