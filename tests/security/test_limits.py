"""What one client may take of a process: bytes, time, places; and what it is told when it wants more."""

import json
import resource
import socket
import threading
import time

import httpx
import pytest

from tests.security.conftest import CLIENT_SECONDS
from tests.security.test_framing import JSON, ORDER, PLAIN
from tests.security.wire import LAST, answers, chunked, connected, exchange, received, request, statuses
from tests.support.http import http_get
from tests.support.service import Fleet

CHUNKED = "Transfer-Encoding: chunked"
SLACK = 3.0
"""How much later than promised a busy machine may do something, in seconds."""


def refusal(fleet: Fleet, sent: bytes) -> tuple[int, str]:
    """Return status and code of the one answer."""
    (answer,) = exchange(fleet.url, sent)
    return answer.status, json.loads(answer.body)["code"]


@pytest.mark.parametrize("size", [40_000, 200_000, 5_000_000])
def test_a_head_has_a_bound_and_an_answer(fleet: Fleet, size: int) -> None:
    field = "X-Filler: " + "a" * 1000
    many = request("GET /healthz HTTP/1.1", *[field] * (size // len(field)))
    endless = request("GET /healthz HTTP/1.1", "X-One: " + "a" * size)
    nameless = request("GET /healthz HTTP/1.1", "a" * size + ": b")
    assert {refusal(fleet, sent) for sent in (many, endless, nameless)} == {(431, "headers_too_large")}
    assert refusal(fleet, request(f"GET /{'a' * size} HTTP/1.1")) == (414, "uri_too_long")


def test_fields_are_counted(fleet: Fleet) -> None:
    assert statuses(fleet.url, request("GET /healthz HTTP/1.1", *["A: b"] * 95) + LAST) == [200, 200]
    assert refusal(fleet, request("GET /healthz HTTP/1.1", *["A: b"] * 101)) == (431, "headers_too_large")
    assert refusal(fleet, request("GET /healthz HTTP/1.1", *["A:"] * 20_000)) == (431, "headers_too_large")


def test_a_trailer_has_the_bound_of_a_head(fleet: Fleet) -> None:
    trailer = b"".join(b"X-%d: %b\r\n" % (n, b"a" * 100) for n in range(1000))
    sent = request("POST /orders HTTP/1.1", JSON, CHUNKED) + chunked(ORDER, trailer=trailer)
    assert refusal(fleet, sent) == (431, "headers_too_large")


def rss_bytes(pid: int) -> int:
    """Return the memory of a process."""
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123 - not a file in a folder
        return int(file.read().split()[1]) * resource.getpagesize()


def test_headers_without_end_take_no_memory(fleet: Fleet) -> None:
    """A hundred megabytes of them, from ten clients."""
    before = rss_bytes(fleet.pid("api-0"))
    for _ in range(10):
        assert refusal(fleet, request("GET /healthz HTTP/1.1", *["X: " + "a" * 1000] * 10_000))[0] == 431
    assert rss_bytes(fleet.pid("api-0")) - before < 30_000_000


def test_pipelined_requests_are_read_as_they_are_answered(fleet: Fleet) -> None:
    """Ten thousand in one go: each has its answer, and those that wait are bytes, not objects."""
    before = rss_bytes(fleet.pid("api-0"))
    bare = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with connected(fleet.url, timeout=60) as connection:
        sender = threading.Thread(target=connection.sendall, args=(bare * 10_000 + LAST,))
        sender.start()
        found = received(connection)
        sender.join()
    assert found.count(b"HTTP/1.1 200 OK") == 10_001
    assert rss_bytes(fleet.pid("api-0")) - before < 30_000_000


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"\r\n", None),
        (b"GET /hea", 408),
        (b"GET /healthz HTTP/1.1\r\nHost: shop\r\nX-A: ", 408),
        (request("POST /orders HTTP/1.1", JSON, "Content-Length: 51") + ORDER[:10], 408),
        (request("POST /orders HTTP/1.1", JSON, CHUNKED) + b"5\r\nab", 408),
        (request("POST /orders HTTP/1.1", JSON, "Connection: upgrade", "Upgrade: h2c", "Content-Length: 51"), 408),
    ],
    ids=[
        "nothing",
        "an empty line",
        "half a line",
        "half a head",
        "half a body",
        "half a chunk",
        "no body to an upgrade",
    ],
)
@pytest.mark.parametrize("before", [0, 3], ids=["at once", "after others"])
def test_a_request_that_does_not_arrive_is_ended(fleet: Fleet, sent: bytes, status: int | None, before: int) -> None:
    before *= status is not None  # a connection that was answered may be idle for longer
    began = time.monotonic()
    found = [answer.status for answer in exchange(fleet.url, PLAIN * before + sent)]
    assert found == [202] * before + ([status] if status else [])
    assert CLIENT_SECONDS * 0.9 < time.monotonic() - began < CLIENT_SECONDS + SLACK


@pytest.mark.parametrize(
    "head",
    [b"GET /healthz HTTP/1.1\r\nHost: shop\r\nX-A: ", request("POST /orders HTTP/1.1", JSON, "Content-Length: 100000")],
    ids=["a head", "a body"],
)
def test_a_drip_is_no_arrival(fleet: Fleet, head: bytes) -> None:
    """A byte now and then does not set the clock back."""
    began = time.monotonic()
    with connected(fleet.url) as connection:
        connection.sendall(head)
        connection.settimeout(0.05)
        data = b""
        while time.monotonic() - began < CLIENT_SECONDS + SLACK:
            try:
                connection.send(b"a")
                data += (piece := connection.recv(65536))
            except TimeoutError:
                continue
            except OSError:
                break
            if not piece:
                break
    assert [answer.status for answer in answers(data)] in ([408], [413])
    assert time.monotonic() - began < CLIENT_SECONDS + SLACK


def test_who_does_not_read_is_cut_off(fleet: Fleet) -> None:
    with connected(fleet.url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(CLIENT_SECONDS + SLACK)  # nothing can be sent any more for so long
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(request("GET /openapi.json HTTP/1.1") * 400_000)


def refused(fleet: Fleet) -> dict[str, float]:
    """Return how many requests were refused, by reason."""
    lines = http_get(f"{fleet.url}/metrics").text.splitlines()
    figures = (line.rpartition(" ") for line in lines if line.startswith("flash_sale_http_refused_total{"))
    return {name.partition('reason="')[2].partition('"')[0]: float(value) for name, _, value in figures}


def test_refusals_are_counted_and_few_lines_are_written(fleet: Fleet) -> None:
    before, lines = refused(fleet), len(fleet.lines)
    for _ in range(300):
        statuses(fleet.url, request("GET / HTTP/1.1", host=None))
    assert refused(fleet)["bad_request"] - before["bad_request"] == 300
    assert len(fleet.lines) - lines <= 10


def test_who_places_and_cancels_all_the_time_has_to_wait(fleet: Fleet) -> None:
    """Sixty a minute by default; it is this user who waits, and nobody else, and cancelling is always possible."""
    with fleet.client() as client:

        def place(user: str) -> httpx.Response:
            return client.post("/orders", json={"product_id": "shirt", "user_id": user, "quantity": 1})

        last = place("fickle")
        for _ in range(70):
            answer = place("fickle")
            if answer.status_code == 429:
                break
            assert client.post(f"/orders/{answer.json()['order_id']}/cancel").status_code == 200
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1
        assert place("steady").status_code == 202
        assert client.post(f"/orders/{last.json()['order_id']}/cancel").status_code == 200
