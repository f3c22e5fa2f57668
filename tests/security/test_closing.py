"""The end of a connection: of one side, of a client that goes, and of the service with clients that say nothing."""

import json
import random
import signal
import socket
import struct
import threading
from pathlib import Path

import httpx
import pytest

from tests.security.conftest import SHIRT
from tests.security.test_framing import JSON, KEY, ORDER, PLAIN, WS
from tests.security.wire import LAST, answers, chunked, connected, exchange, received, request, statuses
from tests.support.service import ADMIN, Fleet
from tests.support.waiting import eventually

CHUNKED = "Transfer-Encoding: chunked"


def test_a_half_closed_client_gets_its_answers(fleet: Fleet) -> None:
    """`shutdown(SHUT_WR)` says that no more will come, not that nobody listens."""
    assert statuses(fleet.url, PLAIN, half_close=True) == [202]
    assert statuses(fleet.url, PLAIN * 50, half_close=True) == [202] * 50
    waiting = exchange(fleet.url, request("GET /inventory/shirt HTTP/1.1") + PLAIN + LAST, half_close=True)
    assert [answer.status for answer in waiting] == [200, 202, 200]
    chunks = request("POST /orders HTTP/1.1", JSON, CHUNKED) + chunked(ORDER)
    assert statuses(fleet.url, chunks, half_close=True) == [202]


@pytest.mark.parametrize(
    "half",
    [b"GET /hea", request("POST /orders HTTP/1.1", JSON, "Content-Length: 51") + ORDER[:10]],
    ids=["head", "body"],
)
def test_a_half_closed_client_that_sent_half_a_request_gets_what_is_due(fleet: Fleet, half: bytes) -> None:
    assert statuses(fleet.url, PLAIN + half, half_close=True) == [202]
    assert statuses(fleet.url, half, half_close=True) == []


def test_pipelined_clients_that_go_away_make_no_noise(fleet: Fleet, chance: random.Random) -> None:
    """Some close, some reset, each in the middle of many requests."""
    shapes = [PLAIN, request("GET /openapi.json HTTP/1.1"), request("GET /metrics HTTP/1.1"), PLAIN[:-5]]
    before = len(fleet.lines)
    for _ in range(150):
        with connected(fleet.url) as connection:
            connection.sendall(b"".join(chance.choices(shapes[:3], k=chance.randrange(2, 40))) + chance.choice(shapes))
            if chance.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset
            if chance.random() < 0.5:
                connection.recv(chance.randrange(1, 100_000))
    assert statuses(fleet.url, PLAIN + LAST) == [202, 200]
    noise = [line for line in fleet.lines[before:] if line.get("level") in {"error", "critical"}]
    assert (noise, "Traceback" in fleet.log) == ([], False)


FRAMES = {
    "no UTF-8": (b"\x81\x82\x00\x00\x00\x00\xff\xfe", 1007),
    "no UTF-8 in two frames": (b"\x01\x81\x00\x00\x00\x00\xc3\x80\x81\x00\x00\x00\x00\x28", 1007),
    "no mask": (b"\x81\x02hi", 1002),
    "an opcode that is none": (b"\x83\x80\x00\x00\x00\x00", 1002),
    "a longer one than there may be": (b"\x81\xff\x3f" + b"\xff" * 7 + b"\x00" * 4, 1009),
    "half a code to close with": (b"\x88\x81\x00\x00\x00\x00\x03", 1002),
}


@pytest.mark.parametrize(("sent", "code"), FRAMES.values(), ids=FRAMES)
def test_a_frame_that_is_none_ends_the_session_without_a_word(fleet: Fleet, sent: bytes, code: int) -> None:
    """By the code that RFC 6455 has for it; strangers write no tracebacks into the log."""
    before = len(fleet.lines)
    with connected(fleet.url) as connection:
        connection.sendall(request("GET /monitoring HTTP/1.1", *WS))
        assert connection.recv(12) == b"HTTP/1.1 101"
        connection.sendall(sent)
        data = received(connection)
    assert b"\x88" + bytes([data[data.rindex(b"\x88") + 1]]) + code.to_bytes(2, "big") in data
    assert statuses(fleet.url, PLAIN + LAST) == [202, 200]
    noise = [line for line in fleet.lines[before:] if line.get("level") in {"error", "critical"}]
    assert (noise, "Traceback" in fleet.log) == ([], False)


NEVER_ANSWERED = {
    "a handshake with a body": request("GET /monitoring HTTP/1.1", *WS, "Content-Length: 5"),
    "a handshake by POST": request("POST /monitoring HTTP/1.1", *WS),
    "a handshake with chunks": request("GET /monitoring HTTP/1.1", *WS, CHUNKED) + b"5\r\nab",
    "more headers than the library takes": request("GET /monitoring HTTP/1.1", *WS, *["A: b"] * 129),
    "a line longer than the library takes": request("GET /monitoring HTTP/1.1", *WS, "A: " + "b" * 8300),
    "no key": request("GET /monitoring HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket"),
    "another version": request("GET /monitoring HTTP/1.1", *WS[:2], KEY, "Sec-WebSocket-Version: 7"),
    "a key that is none": request("GET /monitoring HTTP/1.1", *WS[:2], "Sec-WebSocket-Key: x", WS[3]),
    "frames before the answer": request("GET /monitoring HTTP/1.1", *WS) + b"\x81\x80\x00\x00\x00\x00" * 10,
    "half a head": b"GET /monitoring HTTP/1.1\r\nHost: shop\r\nUpg",
    "half a body": request("POST /orders HTTP/1.1", JSON, "Content-Length: 51") + ORDER[:5],
    "nothing": b"",
    "a watcher": request("GET /monitoring HTTP/1.1", *WS),
}


@pytest.mark.timeout(120)
def test_no_connection_spoils_the_end_of_the_others(tmp_path: Path) -> None:
    """At SIGTERM orders are on their way, and beside them stands each that is never answered, three times."""
    env = {"CLIENT_TIMEOUT_SECONDS": "60", "SHUTDOWN_SECONDS": "8", "FAULTS_ENABLED": "true"}
    with Fleet(tmp_path, workers=0, env=env) as fleet, httpx.Client(base_url=fleet.url, timeout=30) as client:
        client.put("/inventory/shirt", json=SHIRT, headers=ADMIN).raise_for_status()
        odd = []
        for shape in [*NEVER_ANSWERED.values()] * 3:
            connection = socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=30)
            connection.sendall(shape)
            odd.append(connection)
        begun = threading.Barrier(21)
        found: list[int] = []

        def order(number: int) -> None:
            body = json.dumps({"product_id": "shirt", "user_id": f"u{number}", "quantity": 1}).encode()
            sent = request("POST /orders HTTP/1.1", JSON, body=body)
            with connected(fleet.url) as waiting:
                waiting.sendall(sent[:-1])
                begun.wait()
                begun.wait()  # SIGTERM was sent
                waiting.sendall(sent[-1:])
                found.extend(answer.status for answer in answers(received(waiting)))

        threads = [threading.Thread(target=order, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        begun.wait()
        eventually(lambda: connections(client) >= 20 + len(odd) // 3, 10, "all are connected")
        fleet.kill("api-0", signal.SIGTERM)
        begun.wait()
        for thread in threads:
            thread.join()
        assert found == [202] * 20
        assert "Traceback" not in fleet.log
        for connection in odd:
            connection.close()


def connections(client: httpx.Client) -> float:
    """Return how many connections the service says it has."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("flash_sale_active_connections{"))
