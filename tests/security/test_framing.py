"""One answer a request: what each shape of bytes is understood as, seen from the client's side of a socket."""

import itertools
import json
import random

import pytest

from tests.security.wire import LAST, answers, chunked, connected, exchange, received, request, statuses
from tests.support.service import Fleet

ORDER = b'{"product_id":"shirt","user_id":"ada","quantity":1}'
JSON = "Content-Type: application/json"
PLAIN = request("POST /orders HTTP/1.1", JSON, body=ORDER)
CHUNKED = "Transfer-Encoding: chunked"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
WS = ("Connection: Upgrade", "Upgrade: websocket", KEY, "Sec-WebSocket-Version: 13")
SMUGGLED = b"GET /inventory/metrics HTTP/1.1\r\nHost: shop\r\n\r\n"

UPGRADES = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA"),
    "an unknown one": ("Connection: upgrade", "Upgrade: foo"),
    "a websocket": WS,
    "several": ("Connection: keep-alive, Upgrade", "Upgrade: h2c, websocket, foo/2"),
    "in two lines": ("Connection: Upgrade", "Upgrade: TLS/1.2", "Upgrade: websocket"),
    "none named": ("Connection: upgrade",),
    "an empty one": ("Connection: upgrade", "Upgrade:"),
    "not in Connection": ("Upgrade: h2c",),
}
EXPECT = "Expect: 100-continue"


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("split", [False, True], ids=["in one piece", "byte by byte"])
def test_an_upgrade_that_is_not_taken_is_ignored_and_its_body_is_its_own(
    fleet: Fleet, upgrade: tuple[str, ...], split: bool
) -> None:
    with_length = request("POST /orders HTTP/1.1", JSON, *upgrade, body=ORDER)
    in_chunks = request("POST /orders HTTP/1.1", JSON, *upgrade, CHUNKED) + chunked(ORDER[:7], ORDER[7:])
    hidden = request("POST /orders HTTP/1.1", JSON, *upgrade, body=SMUGGLED)
    bare = request("GET /inventory/shirt HTTP/1.1", *upgrade)
    sent = with_length + in_chunks + hidden + bare + PLAIN + LAST
    pieces = [bytes([byte]) for byte in sent] if split else [sent]
    assert statuses(fleet.url, *pieces) == [202, 202, 422, 200, 202, 200]


SHAPES = {"nothing else": (), **UPGRADES}


@pytest.mark.parametrize("upgrade", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("chunks", [False, True], ids=["a length", "chunks"])
def test_who_waits_to_be_told_to_go_on_is_told_so_and_the_connection_stays(
    fleet: Fleet, upgrade: tuple[str, ...], chunks: bool
) -> None:
    """RFC 9110, 10.1.1: 100 for who waits with the body, once; then the answer, then the next request."""
    framing = CHUNKED if chunks else f"Content-Length: {len(ORDER)}"
    head = request("POST /orders HTTP/1.1", JSON, *upgrade, EXPECT, framing)
    with connected(fleet.url) as connection:
        connection.sendall(head)
        told = connection.recv(1000)
        connection.sendall((chunked(ORDER) if chunks else ORDER) + PLAIN + LAST)
        rest = received(connection)
    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert [answer.status for answer in answers(rest)] == [202, 202, 200]
    assert rest.count(b"HTTP/1.1 100") == 0


@pytest.mark.parametrize("upgrade", SHAPES.values(), ids=SHAPES)
def test_who_does_not_wait_is_not_told_to_go_on(fleet: Fleet, upgrade: tuple[str, ...]) -> None:
    """The body is there already, or there is none; what follows it is the next request."""
    sent = request("POST /orders HTTP/1.1", JSON, *upgrade, EXPECT, body=ORDER)
    empty = request("GET /inventory/shirt HTTP/1.1", *upgrade, EXPECT)
    with connected(fleet.url) as connection:
        connection.sendall(sent + empty + sent + LAST)
        data = received(connection)
    assert ([answer.status for answer in answers(data)], data.count(b"100 Continue")) == ([202, 200, 202, 200], 0)


REFUSED_EARLY = {
    "too large": (413, request("POST /orders HTTP/1.1", JSON, EXPECT, "Content-Length: 100000")),
    "no such page": (404, request("POST /nothing HTTP/1.1", JSON, EXPECT, "Content-Length: 50")),
    "another method": (405, request("PUT /orders HTTP/1.1", JSON, EXPECT, "Content-Length: 50")),
}


@pytest.mark.parametrize(("status", "head"), REFUSED_EARLY.values(), ids=REFUSED_EARLY)
def test_who_is_refused_before_the_body_is_told_that_the_connection_ends(
    fleet: Fleet, status: int, head: bytes
) -> None:
    """Whether a body still comes nobody knows, so nothing that follows may be taken for a request."""
    with connected(fleet.url) as connection:
        connection.sendall(head)
        first = received(connection)
    found = answers(first.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"))
    assert [(answer.status, answer.headers["connection"]) for answer in found] == [(status, "close")]


def test_http_1_0_knows_no_expectation(fleet: Fleet) -> None:
    head = request("POST /orders HTTP/1.0", JSON, EXPECT, f"Content-Length: {len(ORDER)}")
    with connected(fleet.url) as connection:
        connection.sendall(head + ORDER)
        data = received(connection)
    assert (data.count(b"100 Continue"), [answer.status for answer in answers(data)]) == (0, [202])


def test_a_page_is_told_that_the_figures_come_over_a_websocket(fleet: Fleet) -> None:
    get, post, last = exchange(
        fleet.url, request("GET /monitoring HTTP/1.1") + request("POST /monitoring HTTP/1.1") + LAST
    )
    assert (get.status, get.headers["upgrade"]) == (426, "websocket")
    assert "upgrade" in get.headers["connection"].lower()
    assert get.headers["sec-websocket-version"] == "13"
    assert json.loads(get.body)["code"] == "upgrade_required"
    assert (post.status, post.headers["allow"], last.status) == (405, "GET, HEAD", 200)


def test_a_websocket_is_taken_only_where_there_is_one_and_only_in_http_1_1(fleet: Fleet) -> None:
    elsewhere = request("GET /inventory/shirt HTTP/1.1", *WS)
    (old,) = statuses(fleet.url, request("GET /inventory/shirt HTTP/1.0", *WS))
    with connected(fleet.url) as connection:
        connection.sendall(request("GET /monitoring HTTP/1.1", *WS))
        taken = connection.recv(12)
    assert (statuses(fleet.url, elsewhere + LAST), old, taken) == ([200, 200], 200, b"HTTP/1.1 101")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (("Connection: Upgrade", "Upgrade: websocket"), b""),
        ((*WS, "Content-Length: 5"), b"hello"),
        ((*WS, CHUNKED), chunked(b"hello")),
        (("Connection: Upgrade", "Upgrade: websocket, h2c", KEY), b""),
        ((*WS[:2], KEY, "Sec-WebSocket-Version: 7"), b""),
        ((*WS[:2], "Sec-WebSocket-Key: x", WS[3]), b""),
    ],
    ids=["no key", "with a body", "with a chunked body", "one of two", "another version", "a key that is none"],
)
def test_what_cannot_be_a_handshake_is_a_request(fleet: Fleet, headers: tuple[str, ...], body: bytes) -> None:
    shape = request("GET /monitoring HTTP/1.1", *headers) + body
    first, last = statuses(fleet.url, shape + LAST)
    assert (first, last) == (426, 200)


REFUSED = {
    "no Host": (request("GET /healthz HTTP/1.1", host=None), 400),
    "an empty Host": (request("GET /healthz HTTP/1.1", host=""), 400),
    "two Hosts": (request("GET /healthz HTTP/1.1", "Host: other"), 400),
    "the same Host twice": (request("GET /healthz HTTP/1.1", "Host: shop"), 400),
    "a Host with a path": (request("GET /healthz HTTP/1.1", host="shop/admin"), 400),
    "a Host with a user": (request("GET /healthz HTTP/1.1", host="ada@shop"), 400),
    "gzip, chunked": (request("POST /orders HTTP/1.1", JSON, "Transfer-Encoding: gzip, chunked") + chunked(ORDER), 501),
    "gzip, then chunked": (
        request("POST /orders HTTP/1.1", JSON, "Transfer-Encoding: gzip", CHUNKED) + chunked(ORDER),
        {400, 501},
    ),
    "chunked twice": (request("POST /orders HTTP/1.1", JSON, CHUNKED, CHUNKED) + chunked(ORDER), 400),
    "chunked, gzip": (request("POST /orders HTTP/1.1", JSON, "Transfer-Encoding: chunked, gzip") + chunked(ORDER), 400),
    "identity": (request("POST /orders HTTP/1.1", JSON, "Transfer-Encoding: identity") + ORDER, 501),
    "xchunked": (request("POST /orders HTTP/1.1", JSON, "Transfer-Encoding: xchunked") + chunked(ORDER), 501),
    "a length and chunks": (request("POST /orders HTTP/1.1", JSON, "Content-Length: 5", CHUNKED) + chunked(ORDER), 400),
    "chunks and a length": (request("POST /orders HTTP/1.1", JSON, CHUNKED, "Content-Length: 5") + chunked(ORDER), 400),
    "chunks in HTTP/1.0": (request("POST /orders HTTP/1.0", JSON, CHUNKED) + chunked(ORDER), 400),
    "two lengths": (request("POST /orders HTTP/1.1", JSON, "Content-Length: 5", body=ORDER), 400),
    "a length with a sign": (
        request("POST /orders HTTP/1.1", JSON, "Content-Length: +51", body=ORDER, length=False),
        400,
    ),
    "lengths in a list": (
        request("POST /orders HTTP/1.1", JSON, "Content-Length: 51, 51", body=ORDER, length=False),
        400,
    ),
    "two keys": (request("POST /orders HTTP/1.1", JSON, "Idempotency-Key: a", "Idempotency-Key: b", body=ORDER), 400),
    "two tokens": (request("GET /orders HTTP/1.1", "Authorization: Bearer a", "Authorization: Bearer b"), 400),
    "two types": (request("POST /orders HTTP/1.1", JSON, "Content-Type: text/plain", body=ORDER), 400),
    "a folded header": (request("GET /healthz HTTP/1.1", "X-A: a\r\n b"), 400),
    "a space before the colon": (request("GET /healthz HTTP/1.1", "X-A : a"), 400),
    "a null byte": (request("GET /healthz HTTP/1.1", "X-A: a\x00b"), 400),
    "bare line feeds": (b"GET /healthz HTTP/1.1\nHost: shop\n\n", 400),
    "HTTP/0.9": (request("GET /healthz HTTP/0.9"), 505),
    "HTTP/2.0": (request("GET /healthz HTTP/2.0"), 505),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "CONNECT": (request("CONNECT shop:80 HTTP/1.1", host="shop:80"), 501),
    "a chunk's size that is none": (request("POST /orders HTTP/1.1", JSON, CHUNKED) + b"zz\r\n", 400),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}


@pytest.mark.parametrize(("shape", "status"), REFUSED.values(), ids=REFUSED)
def test_what_can_be_understood_in_two_ways_is_refused_and_all_behind_it(
    fleet: Fleet, shape: bytes, status: int | set[int]
) -> None:
    """What came before is answered first; what comes behind is not answered, for where it begins is anyone's guess."""
    *before, refusal = exchange(fleet.url, PLAIN + PLAIN + shape + SMUGGLED + LAST)
    assert [answer.status for answer in before] == [202, 202]
    assert refusal.status in ({status} if isinstance(status, int) else status)
    assert refusal.headers["connection"] == "close"
    assert refusal.headers["content-type"] == "application/problem+json"
    assert json.loads(refusal.body).keys() >= {"type", "title", "status", "detail", "code", "trace_id"}


ALLOWED = {
    "the same key twice": (
        request("POST /orders HTTP/1.1", JSON, "Idempotency-Key: same", "Idempotency-Key: same", body=ORDER),
        202,
    ),
    "a Host with a port": (request("GET /healthz HTTP/1.1", host="shop.example:8080"), 200),
    "an IPv6 Host": (request("GET /healthz HTTP/1.1", host="[::1]:80"), 200),
    "the target in full": (request("GET http://shop/healthz HTTP/1.1"), 200),
    "a space after the coding": (
        request("POST /orders HTTP/1.1", JSON, "Transfer-Encoding: Chunked ") + chunked(ORDER),
        202,
    ),
    "a chunk's extension": (
        request("POST /orders HTTP/1.1", JSON, CHUNKED) + b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(ORDER), ORDER),
        202,
    ),
    "empty lines in front": (b"\r\n\r\n" + request("GET /healthz HTTP/1.1"), 200),
}


@pytest.mark.parametrize(("shape", "status"), ALLOWED.values(), ids=ALLOWED)
def test_what_is_unusual_and_plain_is_served(fleet: Fleet, shape: bytes, status: int) -> None:
    assert statuses(fleet.url, shape + PLAIN + LAST) == [status, 202, 200]


def test_a_trailer_is_no_header(fleet: Fleet) -> None:
    """An admin's token behind the body lets nobody in, and neither does a key make an order a repetition."""
    body = json.dumps({"quantity": 1}).encode()
    trailer = b"Authorization: Bearer the-admin-token-of-the-tests\r\nIdempotency-Key: k\r\n"
    admin = request("POST /inventory/shirt/restock HTTP/1.1", JSON, CHUNKED) + chunked(body, trailer=trailer)
    order = request("POST /orders HTTP/1.1", JSON, CHUNKED) + chunked(ORDER, trailer=trailer)
    first, *rest = exchange(fleet.url, admin + order + order + LAST)
    assert first.status == 401
    assert [answer.status for answer in rest] == [202, 202, 200]


def test_any_row_of_shapes_has_one_answer_each_in_order(fleet: Fleet, chance: random.Random) -> None:
    """Requests at random in one connection, cut at random: each order's answer names its own user."""
    number = itertools.count()
    for _ in range(40):
        sent, wanted = b"", []
        for _ in range(chance.randrange(1, 12)):
            user = f"user-{next(number)}"
            body = json.dumps({"product_id": "shirt", "user_id": user, "quantity": 1}).encode()
            headers = [JSON, *chance.choice([*UPGRADES.values(), ()])]
            if chance.random() < 0.5:
                sent += request("POST /orders HTTP/1.1", *headers, body=body)
            else:
                cut = chance.randrange(1, len(body))
                sent += request("POST /orders HTTP/1.1", *headers, CHUNKED) + chunked(body[:cut], body[cut:])
            wanted.append(user)
        sent += LAST
        cuts = sorted(chance.randrange(len(sent)) for _ in range(chance.randrange(6)))
        pieces = [sent[a:b] for a, b in itertools.pairwise([0, *cuts, len(sent)])]
        *found, last = exchange(fleet.url, *pieces)
        users = [json.loads(answer.body).get("user_id") for answer in found]
        assert (users, last.status) == (wanted, 200), f"{sent!r} cut at {cuts}"
