"""An attacker and others behind one nginx, as deploy/front/nginx.conf has it: nobody gets another's answer."""

import json
import random
import re
import threading
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from deploy.stack import Stack
from service.settings import Settings
from tests.architecture.repository import ROOT
from tests.security.test_framing import JSON, UPGRADES, WS
from tests.security.wire import chunked, connected, request, statuses
from tests.stack.sale import LAMP, Sale
from tests.support import executable
from tests.support.counts import count
from tests.support.http import http_get

PARTS = ("redis", "api-1", "api-2", "front")
CHUNKED = "Transfer-Encoding: chunked"
FORBIDDEN = "GET /metrics HTTP/1.1"
ROUNDS = 40
VICTIMS = 4


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both replicas behind the front, and a lamp on sale."""
    executable("nginx")
    with Stack(tmp_path_factory.mktemp("front"), parts=PARTS) as running, Sale(running) as sale:
        sale.offer("lamp", LAMP)
        yield running


def attack(chance: random.Random) -> bytes:
    """Return one request that carries others in its body, in one of many shapes.

    Empty lines in front of a request are skipped, so a server that is wrong about where the body ends finds the hidden
    ones wherever it goes on reading; a body that does not fit into one buffer of nginx reaches it in pieces.
    """
    hidden = request(chance.choice([FORBIDDEN, "GET /orders/queue HTTP/1.1"]), f"X-Filler: {chance.random()}")
    body = b"\r\n" * chance.choice([0, 5_000, 15_000, 30_000]) + hidden * chance.randrange(1, 4)
    line = f"{chance.choice(['POST', 'PUT', 'GET'])} {chance.choice(['/orders', '/inventory', '/monitoring'])} HTTP/1.1"
    headers = [JSON, *chance.choice([*UPGRADES.values(), WS])]
    if chance.random() < 0.5:
        return request(line, *headers, body=body)
    return request(line, *headers, CHUNKED) + chunked(body)


def test_nobody_reads_what_is_forbidden_or_gets_the_answer_of_another(stack: Stack, chance: random.Random) -> None:
    url = stack.url("front")
    over = threading.Event()
    wrong: list[str] = []
    asked = [0] * VICTIMS

    def victim(number: int) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            while not over.is_set():
                user = f"victim-{number}-{asked[number]}"
                answer = client.post("/orders", json={"product_id": "lamp", "user_id": user, "quantity": 1})
                if answer.status_code != httpx.codes.ACCEPTED or answer.json()["user_id"] != user:
                    wrong.append(f"{user}: {answer.status_code} {answer.text[:200]}")
                asked[number] += 1

    threads = [threading.Thread(target=victim, args=(number,)) for number in range(VICTIMS)]
    for thread in threads:
        thread.start()
    read = b""
    try:
        for _ in range(ROUNDS):
            with connected(url) as attacker:
                for _ in range(5):
                    attacker.sendall(attack(chance) + request("GET /healthz HTTP/1.1"))
                attacker.settimeout(0.2)
                try:
                    while piece := attacker.recv(65536):
                        read += piece
                except (TimeoutError, ConnectionResetError):
                    continue
    finally:
        over.set()
        for thread in threads:
            thread.join()
    count("beside", sum(asked))
    assert not wrong, f"{len(wrong)} of {sum(asked)} were given another's answer: {wrong[:3]}"
    assert sum(asked) > 100, "the victims were hardly there"
    assert b"# HELP" not in read, "the forbidden page was read"
    assert b"HTTP/1.1 " in read


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_an_upgrade_is_ignored_through_the_front_too(stack: Stack, upgrade: tuple[str, ...]) -> None:
    order = json.dumps({"product_id": "lamp", "user_id": "ada", "quantity": 1}).encode()
    last = request("GET /healthz HTTP/1.1", "Connection: close")
    sent = request("POST /orders HTTP/1.1", JSON, *upgrade, body=order)
    assert statuses(stack.url("front"), sent + sent + last) == [202, 202, 200]


def test_the_front_hands_on_the_websocket_of_one_path(stack: Stack) -> None:
    url = stack.url("front")
    with connect(f"{url.replace('http', 'ws')}/monitoring", proxy=None) as socket:
        assert json.loads(socket.recv(30))["type"] == "snapshot"
    for line in ("GET /inventory/lamp HTTP/1.1", "GET /monitoring/metrics HTTP/1.1"):
        assert statuses(url, request(line, *WS) + request("GET /healthz HTTP/1.1", "Connection: close")) == [200, 200]
    assert http_get(f"{url}/metrics").status_code == httpx.codes.NOT_FOUND


def test_the_front_hangs_up_on_an_idle_api_before_the_api_does() -> None:
    """Else an order would now and then be sent on a connection that is being closed, and nobody may send it again."""
    conf = (ROOT / "deploy/front/replicas.conf").read_text()
    upstream = re.search(r"upstream api \{.*?keepalive_timeout (\d+)s;", conf, re.DOTALL)
    assert upstream is not None
    assert int(upstream[1]) < Settings().keep_alive_seconds
