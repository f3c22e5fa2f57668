"""Who is asking: bearer tokens that name the shopper, and the admin's token beside them."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest

from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop, problem

SECRET = "a secret of the tests, of 32 characters and more"  # noqa: S105 - it guards nothing
ORDER = {"product_id": "lamp", "quantity": 1}


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API whose shoppers must show a token, with ten lamps."""
    async with open_shop(valkey_server.url, auth_jwt={"secret": SECRET}) as shop:
        await shop.put()
        yield shop


def token(subject: Any = "ada", key: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """Return a token that is good for an hour."""
    body = {"sub": subject, "exp": int(time.time()) + 3600, **claims}
    return jwt.encode({name: value for name, value in body.items() if value is not None}, key, algorithm)


def bearing(value: str, **headers: str) -> dict[str, str]:
    """Return the headers of a request with that token."""
    return {"Authorization": f"Bearer {value}", **headers}


async def place(shop: Shop, value: str, key: str | None = None, **body: Any) -> httpx.Response:
    """Order a lamp with a token."""
    headers = {"Idempotency-Key": key} if key else {}
    return await shop.client.post("/orders", json={**ORDER, **body}, headers=bearing(value, **headers))


def hmac_token(secret: bytes) -> str:
    """Return a token signed with any bytes; the library itself refuses to use a public key so."""

    def plain(part: bytes) -> bytes:
        return urlsafe_b64encode(part).rstrip(b"=")

    claims = json.dumps({"sub": "ada", "exp": int(time.time()) + 3600}).encode()
    signed = plain(b'{"alg":"HS256","typ":"JWT"}') + b"." + plain(claims)
    return (signed + b"." + plain(hmac.digest(secret, signed, "sha256"))).decode()


def unsigned(subject: str) -> str:
    """Return a token that nobody signed."""
    return jwt.encode({"sub": subject, "exp": int(time.time()) + 3600}, None, "none")  # type: ignore[arg-type]


BAD = {
    "none": None,
    "empty": "Bearer",
    "no token": "Bearer x",
    "three parts": "Bearer a.b.c",
    "another scheme": f"Basic {token()}",
    "another key": f"Bearer {token(key=SECRET[::-1])}",
    "expired": f"Bearer {token(exp=int(time.time()) - 60)}",
    "not yet": f"Bearer {token(nbf=int(time.time()) + 3600)}",
    "endless": f"Bearer {token(exp=None)}",
    "of nobody": f"Bearer {token(None)}",
    "of an empty name": f"Bearer {token('')}",
    "of a name too long": f"Bearer {token('x' * 256)}",
    "of half a letter": f"Bearer {token(chr(0xD800))}",
    "unsigned": f"Bearer {unsigned('ada')}",
}


async def test_the_admins_token_buys_nothing(shop: Shop) -> None:
    """It names no shopper."""
    problem(await shop.client.post("/orders", json=ORDER, headers=ADMIN), 401, "unauthorized")


@pytest.mark.parametrize("header", BAD.values(), ids=BAD.keys())
async def test_without_a_valid_token_there_are_no_orders(shop: Shop, header: str | None) -> None:
    """401 with a challenge, on every route of an order that is somebody's."""
    headers = {"Authorization": header} if header else {}
    order_id = "0" * 30
    for method, path in (
        ("POST", "/orders"),
        ("GET", "/orders"),
        ("GET", f"/orders/{order_id}"),
        ("POST", f"/orders/{order_id}/cancel"),
    ):
        body = ORDER if path == "/orders" and method == "POST" else None
        answer = await shop.client.request(method, path, json=body, headers=headers)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert SECRET not in answer.text
    assert (await shop.product())["held"] == 0


async def test_the_subject_of_the_token_is_the_user(shop: Shop) -> None:
    """Whether the body names nobody, or somebody else."""
    for body in ({}, {"user_id": "eve"}, {"user_id": None}):
        answer = await place(shop, token(), **body)
        assert (answer.status_code, answer.json()["user_id"]) == (202, "ada")
    for query in ({}, {"user_id": "eve"}):
        page = await shop.client.get("/orders", params=query, headers=bearing(token()))
        assert [order["user_id"] for order in page.json()["orders"]] == ["ada"] * 3
    page = await shop.client.get("/orders", headers=bearing(token("eve")))
    assert page.json()["orders"] == []


async def test_another_users_order_does_not_exist(shop: Shop) -> None:
    """404 for reading and cancelling, the same as for an order that is not there."""
    order = (await place(shop, token())).headers["location"]
    mine, theirs = bearing(token()), bearing(token("eve"))
    missing = await shop.client.get("/orders/" + "0" * 30, headers=theirs)
    for answer in (
        await shop.client.get(order, headers=theirs),
        await shop.client.post(f"{order}/cancel", headers=theirs),
    ):
        body = problem(answer, 404, "unknown_order")
        assert {**body, "trace_id": ""} == {**missing.json(), "trace_id": ""}
    assert (await shop.client.get(order, headers=mine)).json()["status"] == "pending"
    assert (await shop.client.post(f"{order}/cancel", headers=mine)).json()["status"] == "cancelled"


async def test_the_same_key_of_two_users_makes_two_orders(shop: Shop) -> None:
    """A key belongs to who sends it: nobody sees another's order by guessing a key, nor is refused for it."""
    ada, eve = await place(shop, token(), "key"), await place(shop, token("eve"), "key", quantity=2)
    assert (ada.status_code, eve.status_code) == (202, 202)
    assert ada.json()["order_id"] != eve.json()["order_id"]
    again = await place(shop, token(), "key")
    assert (again.status_code, again.content) == (200, ada.content)


@pytest.mark.parametrize(
    "subject", ["auth0|5f7c8", "ada@example.com", "00u1a2-b3_c4", "1", "x" * 255, "zoë", "a b", "{}\n"]
)
async def test_a_subject_of_any_form_is_a_user(shop: Shop, subject: str) -> None:
    """The provider chooses it: what it is made of is none of our business, and never a key's."""
    placed = await place(shop, token(subject))
    assert (placed.status_code, placed.json()["user_id"]) == (202, subject)
    page = await shop.client.get("/orders", headers=bearing(token(subject)))
    assert [order["order_id"] for order in page.json()["orders"]] == [placed.json()["order_id"]]
    cancelled = await shop.client.post(f"{placed.headers['location']}/cancel", headers=bearing(token(subject)))
    assert cancelled.json()["status"] == "cancelled"


async def test_issuer_and_audience_are_checked_where_they_are_set(valkey_server: RedisServer) -> None:
    """A token of another issuer, or for another service, is not valid here."""
    settings = {"secret": SECRET, "issuer": "https://id.example", "audience": "flash-sale"}
    async with open_shop(valkey_server.url, auth_jwt=settings) as shop:
        await shop.put()
        good = {"iss": "https://id.example", "aud": "flash-sale"}
        assert (await place(shop, token(**good))).status_code == 202
        for claims in ({}, {**good, "iss": "https://evil.example"}, {**good, "aud": "other"}, {"iss": good["iss"]}):
            problem(await place(shop, token(**claims)), 401, "unauthorized")


async def test_a_public_key_takes_no_token_signed_with_itself(valkey_server: RedisServer) -> None:
    """The classic confusion: the public key used as the secret of an HMAC."""
    ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec", reason="pyjwt[crypto] is not installed")
    forms = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    async with open_shop(valkey_server.url, auth_jwt={"public_key": public.decode()}) as shop:
        await shop.put()
        assert (await place(shop, token(key=private, algorithm="ES256"))).status_code == 202
        confused = hmac_token(public)
        for bad in (confused, token(), unsigned("ada")):
            problem(await place(shop, bad), 401, "unauthorized")


async def test_the_catalogue_and_the_queue_are_open_to_all(shop: Shop) -> None:
    """Only what is somebody's needs a token."""
    for path in ("/inventory", "/inventory/lamp", "/inventory/metrics", "/orders/queue", "/monitoring/metrics"):
        assert (await shop.client.get(path)).status_code == 200
