"""Input that cannot be used: each is a 4xx problem that points at the field, and changes nothing."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.service import ADMIN
from tests.support.shop import PRODUCT, Shop, open_shop, problem
from tests.support.stores import Servers

JSON = {"Content-Type": "application/json"}
ORDER = {"product_id": "lamp", "user_id": "ada", "quantity": 1}
RAW = b'{"product_id":"lamp","user_id":"ada","quantity":1}'


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_for_all(servers: Servers) -> AsyncIterator[Shop]:
    """Yield one API for the whole module: nothing that is sent to it here may change anything."""
    async with open_shop(servers.get("valkey").url) as shop:
        await shop.put()
        yield shop


@pytest_asyncio.fixture(loop_scope="module")
async def shop(open_for_all: Shop) -> AsyncIterator[Shop]:
    """Yield an API with ten lamps; whatever the test sends, nothing may be taken from them."""
    shop = open_for_all
    yield shop
    product = await shop.product()
    assert (product["stock"], product["held"], product["price"]) == (10, 0, 4950)
    assert len((await shop.client.get("/inventory")).json()["products"]) == 1


def pointers(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Return where a problem points."""
    assert all(field["detail"] for field in body["errors"])
    return [(field["location"], field["pointer"]) for field in body["errors"]]


QUANTITIES = [0, -1, 1001, 2**31, 2**63, 10**300, 1.0, 1.5, 1e300, True, False, "1", "", None, [], [1], {}, {"a": 1}]


async def test_a_quantity_is_a_whole_number_from_1_to_1000(shop: Shop) -> None:
    """Nothing is taken for a number that is none."""
    for quantity in QUANTITIES:
        body = problem(await shop.order(quantity=quantity), 422, "invalid")
        assert pointers(body) == [("body", "#/quantity")], quantity


IDS: list[Any] = [
    *("", " ", "{}", "{fs:00}:queue", "a\nb", "a\n", "\n", "a\0", "\0", "a\x7fb", "a b", "a/b", "../a", ".", "-a", "*"),
    *("é", "\uff41", "a\u202eb", "\ud800", "\U0001f600", "x" * 129, "x" * 60_000, 1, 1.5, True, [], ["lamp"], {}),
]


async def test_ids_are_plain_words(shop: Shop) -> None:
    """No braces, slashes, blanks, control characters, lone surrogates or other scripts get near a key."""
    for name in ("product_id", "user_id"):
        for bad in [*IDS, *([None] if name == "product_id" else [])]:
            content = json.dumps({**ORDER, name: bad}).encode()
            answer = await shop.client.post("/orders", content=content, headers=JSON)
            assert pointers(problem(answer, 422, "invalid")) == [("body", f"#/{name}")], ascii(bad)[:80]
            assert len(answer.content) < 1000


@pytest.mark.parametrize("name", ["product_id", "user_id", "quantity"])
async def test_a_field_that_is_missing_is_named(shop: Shop, name: str) -> None:
    """One pointer for the one field."""
    body = {key: value for key, value in ORDER.items() if key != name}
    answer = problem(await shop.client.post("/orders", json=body), 422, "invalid")
    assert (pointers(answer), answer["detail"]) == ([("body", f"#/{name}")], f"body #/{name}: Field required")


@pytest.mark.parametrize(
    ("name", "pointer"),
    [
        ("colour", "#/colour"),
        ("", "#/"),
        ("a/b~c", "#/a~1b~0c"),
        ("a b\n\0", "#/a%20b%0A%00"),
        ("é", "#/%C3%A9"),
        ("x" * 60_000, f"#/{'x' * 64}"),
    ],
)
async def test_a_field_that_nobody_asked_for_is_named(shop: Shop, name: str, pointer: str) -> None:
    """As RFC 6901 writes a pointer in a URI fragment, and at a bounded length."""
    answer = await shop.order(None, **{name: 1})
    assert pointers(problem(answer, 422, "invalid")) == [("body", pointer)]
    assert len(answer.content) < 1000


async def test_at_most_twenty_fields_are_named(shop: Shop) -> None:
    """The answer to a hostile body is small."""
    answer = await shop.order(None, **{f"k{n}": 1 for n in range(3000)})
    assert len(problem(answer, 422, "invalid")["errors"]) == 20
    assert len(answer.content) < 5000


BODIES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" ",
    "half": b'{"product_id"',
    "two": RAW + RAW,
    "null": b"null",
    "a list": b"[" + RAW + b"]",
    "a word": b'"lamp"',
    "single quotes": RAW.replace(b'"', b"'"),
    "not UTF-8": RAW.replace(b"ada", b"\xff\xfe"),
    "an overlong UTF-8 form": RAW.replace(b"ada", b"\xc0\xaf"),
    "UTF-16": RAW.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + RAW,
    "a raw control character": RAW.replace(b"ada", b"a\nda"),
    "NaN": RAW.replace(b":1}", b":NaN}"),
    "Infinity": RAW.replace(b":1}", b":Infinity}"),
    "-Infinity": RAW.replace(b":1}", b":-Infinity}"),
    "a name twice": RAW.replace(b":1}", b':1,"quantity":2}'),
    "the same twice": RAW.replace(b":1}", b':1,"quantity":1}'),
    "a number of 5000 digits": RAW.replace(b":1}", b":" + b"9" * 5000 + b"}"),
    "deep": b"[" * 32_000 + b"]" * 32_000,
    "deep and open": b'{"a":' * 13_000,
    "deep in a field": RAW.replace(b'"ada"', b"[" * 30_000 + b"]" * 30_000),
    "a lone surrogate as a name": RAW.replace(b":1}", b':1,"\\ud800":2}'),
    "gzip": b"\x1f\x8b\x08\x00",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_body_is_one_json_object(shop: Shop, body: bytes) -> None:
    """Strictly: of two equal names or two encodings, two readers could make two orders."""
    answer = problem(await shop.client.post("/orders", content=body, headers=JSON), 422, "invalid")
    assert pointers(answer) == [("body", "#")]
    assert len(answer["detail"]) < 200


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
@pytest.mark.parametrize("size", [65_537, 200_000])
async def test_a_body_over_64_kib_is_too_large(shop: Shop, size: int, chunked: bool) -> None:
    """Of 100 000 brackets or of anything else: 413, before it is read as JSON."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size, 1000):
            yield b"[" * min(1000, size - start)

    before = await shop.rejections(reason="payload_too_large")
    answer = await shop.client.post("/orders", content=chunks() if chunked else b"[" * size, headers=JSON)
    problem(answer, 413, "payload_too_large")
    assert await shop.rejections(reason="payload_too_large") == before + 1


async def test_a_body_of_64_kib_is_read(shop: Shop) -> None:
    """The bound is exact, however the body comes."""
    body = RAW.replace(b"lamp", b"dodo") + b" " * (65_536 - len(RAW))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    for content in (body, chunks()):
        problem(await shop.client.post("/orders", content=content, headers=JSON), 404, "unknown_product")


TYPES = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "garbage", "json"]


@pytest.mark.parametrize("media_type", TYPES)
async def test_a_body_of_another_type_is_refused(shop: Shop, media_type: str) -> None:
    """415 for every route with a body, also when the type is not given."""
    headers = {"Content-Type": media_type} if media_type else {}
    problem(await shop.client.post("/orders", content=RAW, headers=headers), 415, "unsupported_media_type")
    product = json.dumps(PRODUCT).encode()
    answer = await shop.client.put("/inventory/lamp", content=product, headers={**headers, **ADMIN})
    problem(answer, 415, "unsupported_media_type")


async def test_a_type_is_not_repeated_at_any_length(shop: Shop) -> None:
    """Nor is it remembered so."""
    headers = {"Content-Type": "x" * 8_000}
    answer = await shop.client.post("/orders", content=RAW, headers=headers)
    problem(answer, 415, "unsupported_media_type")
    assert len(answer.content) < 1000


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"\xc3\xa9", b"\xff", b"a b", b"a\tb", b"x" * 5000])
async def test_an_idempotency_key_is_1_to_255_visible_characters(shop: Shop, key: bytes) -> None:
    """An empty key is refused, not left out of account: the caller believes to be safe."""
    headers: dict[bytes, bytes] = {b"Content-Type": b"application/json", b"Idempotency-Key": key}
    answer = problem(await shop.client.post("/orders", content=RAW, headers=headers), 422, "invalid")
    assert pointers(answer) == [("header", "#/Idempotency-Key")]


@pytest.mark.parametrize(
    "path", ["/nope", "/orders/", "/inventory/", "/orders/x/y", "/%ff%00", "/..%2f..%2fetc%2fpasswd"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_route_is_404(shop: Shop, method: str, path: str) -> None:
    """A slash too many is no redirect to a host that the caller named."""
    problem(await shop.client.request(method, path), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/orders", "GET, HEAD, POST"),
        ("/orders/queue", "GET, HEAD"),
        (f"/orders/{'0' * 30}/cancel", "POST"),
        ("/inventory/lamp", "DELETE, GET, HEAD, PATCH, PUT"),
        ("/inventory/lamp/restock", "POST"),
        ("/inventory/metrics", "GET, HEAD"),
        ("/monitoring/health", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_and_names_the_right_ones(shop: Shop, path: str, allowed: str) -> None:
    """All of them, though they belong to several handlers."""
    for method in {"POST", "DELETE", "OPTIONS"} - set(allowed.split(", ")):
        answer = await shop.client.request(method, path)
        problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed


QUERIES = [
    ("", "user_id"),
    ("user_id=", "user_id"),
    ("user_id=%7B%7D", "user_id"),
    ("user_id=a%0Ab", "user_id"),
    ("user_id=%ff", "user_id"),
    ("user_id=%00", "user_id"),
    *((f"user_id=ada&limit={limit}", "limit") for limit in ("0", "-1", "101", "9" * 30, "1.5", "x", "", "1e1", "NaN")),
    *(
        (f"user_id=ada&cursor={cursor}", "cursor")
        for cursor in ("x", "%00", "é", "!!!!", "MQ", "eCB5", "LTk5OTk5OTk5OTk5OTk5OTk5OTkgeA", "A" * 200, "A" * 201)
    ),
]


@pytest.mark.parametrize(("query", "name"), QUERIES)
async def test_a_query_that_makes_no_sense_is_refused(shop: Shop, query: str, name: str) -> None:
    """Limits are bounded, and a cursor is one that this route gave out."""
    answer = problem(await shop.client.get(f"/orders?{query}"), 422, "invalid")
    assert pointers(answer) == [("query", f"#/{name}")]


@pytest.mark.parametrize("product_id", ["%7B%7D", "%00", "a%0A", "%2E%2E", "a%20b", "%ff", "x" * 65, "%C3%A9", "-a"])
async def test_a_product_id_in_a_path_is_a_plain_word(shop: Shop, product_id: str) -> None:
    """For reading, creating and changing alike."""
    for method, path, body in (
        ("GET", "", None),
        ("PUT", "", PRODUCT),
        ("PATCH", "", {"stock": 1}),
        ("POST", "/restock", {"quantity": 1}),
    ):
        answer = await shop.client.request(method, f"/inventory/{product_id}{path}", json=body, headers=ADMIN)
        assert pointers(problem(answer, 422, "invalid")) == [("path", "#/product_id")]


FIELDS: list[tuple[str, list[Any]]] = [
    ("name", ["", "a\nb", "\0", "x" * 201, 1, None, "\ud800"]),
    ("price", [-1, 1.5, 10**12 + 1, "1", None, True]),
    ("currency", ["", "eur", "EURO", "E", "€€€", "ABC", "BTC", "ZZZ", "XXX", 1, None]),
    ("stock", [-1, 10**9 + 1, 1.0, "1", None, False]),
    ("per_user_limit", [0, -1, 10**9 + 1, 1.5, "1", True]),
    ("opens_at", ["", "yesterday", "2030-01-01", "2030-01-01T00:00:00", [], "9999-99-99T00:00:00Z"]),
    ("opens_at", [0, 1.5, "1700000000", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]),
    ("closes_at", ["2030-13-01T00:00:00Z", "2030-01-01T00:00:00", True, {}]),
]


@pytest.mark.parametrize(("name", "values"), FIELDS)
async def test_a_field_of_a_product_is_checked(shop: Shop, name: str, values: list[Any]) -> None:
    """By PUT and by PATCH."""
    for value in values:
        for method, body in (("PUT", {**PRODUCT, name: value}), ("PATCH", {name: value})):
            content = json.dumps(body).encode()
            answer = await shop.client.request(method, "/inventory/lamp", content=content, headers={**JSON, **ADMIN})
            assert pointers(problem(answer, 422, "invalid")) == [("body", f"#/{name}")], (method, value)


@pytest.mark.parametrize("body", [{}, {"units": 1}, {"quantity": 0}, {"quantity": -5}, {"quantity": 1.5}])
async def test_a_restock_adds_a_whole_number_of_units(shop: Shop, body: dict[str, Any]) -> None:
    """Units are taken away by PUT or PATCH of the stock alone."""
    answer = await shop.client.post("/inventory/lamp/restock", json=body, headers=ADMIN)
    problem(answer, 422, "invalid")


async def test_a_product_cannot_take_the_address_of_another_resource(shop: Shop) -> None:
    """`GET /inventory/metrics` would not show it."""
    answer = await shop.client.put("/inventory/metrics", json=PRODUCT, headers=ADMIN)
    assert pointers(problem(answer, 422, "invalid")) == [("path", "#/product_id")]


async def test_a_patch_says_something(shop: Shop) -> None:
    """An empty one is a mistake."""
    problem(await shop.client.patch("/inventory/lamp", json={}, headers=ADMIN), 422, "invalid")
