"""Whatever a stranger sends as a token is answered with 401, short, and without a log line of its own."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.settings import Settings, SettingsError
from tests.support import RedisServer
from tests.support.shop import Shop, open_shop

KEYS: dict[str, PrivateKeyTypes] = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
ALGORITHMS = (
    "RS256",
    "RS512",
    "PS256",
    "ES256",
    "ES384",
    "ES256K",
    "ES512",
    "EdDSA",
    "HS256",
    "HS512",
    "none",
    "None",
    "",
)


def public(key: PrivateKeyTypes) -> str:
    found: PublicKeyTypes = key.public_key()
    return found.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(params=[*KEYS, "secret"])
async def shop(valkey_server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """Yield an API for each family of keys."""
    settings = {"secret": "s" * 40} if request.param == "secret" else {"public_key": public(KEYS[request.param])}
    async with open_shop(valkey_server.url, auth_jwt=settings) as opened:
        yield opened


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged() -> list[str]:
    """Return tokens of every family of keys and every broken form."""
    claims = {"sub": "ada", "exp": int(time.time()) + 3600}
    tokens = [
        f"{part({'alg': name, **more})}.{part(claims)}.{part(b'x' * size)}"
        for name in ALGORITHMS
        for size in (0, 64, 256)
        for more in ({}, {"kid": ["a"], "jwk": {"kty": "RSA"}, "typ": 3}, {"crit": ["b64"], "b64": False})
    ]
    heads: list[object] = [
        {},
        [],
        1,
        None,
        "x",
        {"alg": 1},
        {"alg": None},
        {"alg": ["RS256"]},
        {"alg": {}},
        b"\xff\xfe",
        b"",
    ]
    tokens += [f"{part(head)}.{part(claims)}.{part(b'x' * 64)}" for head in heads]
    bombs = [b"[" * 3000, b'{"a":' * 1000, b"1" * 6000, b'{"sub":1e999}', b'{"exp":' + b"9" * 5000 + b"}"]
    tokens += [f"{part({'alg': 'RS256'})}.{part(bomb)}.{part(b'x' * 64)}" for bomb in bombs]
    tokens += [f"{part(bomb)}.{part(claims)}.AAAA" for bomb in bombs]
    return [*tokens, "x", ".", "..", "...", "a.b.c.d", "=.=.=", "é.é.é", "a" * 7000, "%00.%00.%00", "null"]


async def test_what_nobody_signed(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for token in forged():
        headers = {b"Authorization": b"Bearer " + token.encode("latin-1")}
        answer = await shop.client.post("/orders", json={"product_id": "lamp", "quantity": 1}, headers=headers)
        assert answer.status_code == 401, (token[:80], answer.text)
        assert answer.json()["code"] == "unauthorized"
        assert len(answer.content) < 1000
    assert capsys.readouterr().out == ""


async def test_claims_of_wrong_types_with_a_right_signature(valkey_server: RedisServer) -> None:
    """Signed by whoever may sign, and still nothing that names a user."""
    secret = "s" * 40
    now = int(time.time())
    odd: list[dict[str, object]] = [
        {"sub": 7}, {"sub": None}, {"sub": ["ada"]}, {"sub": {}}, {"sub": ""}, {"sub": "x" * 300}, {"sub": "\ud800"},
        {"exp": "soon"}, {"exp": None}, {"exp": -1}, {"exp": [1]}, {"nbf": "x"},
        {"nbf": now + 1000}, {"iat": "x"}, {"iat": [1]}, {"aud": 7}, {"aud": [7]}, {"iss": 7}, {"jti": 7},
    ]  # fmt: skip
    async with open_shop(valkey_server.url, auth_jwt={"secret": secret, "audience": "shop", "issuer": "us"}) as shop:
        for claims in odd:
            body = {"sub": "ada", "exp": now + 3600, "aud": "shop", "iss": "us", **claims}
            head, payload = part({"alg": "HS256"}), part(body)

            signature = part(hmac.digest(secret.encode(), f"{head}.{payload}".encode(), "sha256"))
            headers = {"Authorization": f"Bearer {head}.{payload}.{signature}"}
            answer = await shop.client.get("/orders", headers=headers)
            assert answer.status_code == 401, (claims, answer.text)
        good = jwt.encode({"sub": "ada", "exp": now + 3600, "aud": "shop", "iss": "us"}, secret, "HS256")
        assert (await shop.client.get("/orders", headers={"Authorization": f"Bearer {good}"})).status_code == 200


FAMILIES: dict[str, tuple[PrivateKeyTypes, tuple[str, ...]]] = {
    "RSA": (KEYS["rsa"], ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    "P-256": (KEYS["ec"], ("ES256",)),
    "P-384": (ec.generate_private_key(ec.SECP384R1()), ("ES384",)),
    "P-521": (ec.generate_private_key(ec.SECP521R1()), ("ES512",)),
    "Ed25519": (KEYS["ed25519"], ("EdDSA",)),
}
NO_TOKEN_KEYS: dict[str, PrivateKeyTypes] = {
    "too short an RSA key": rsa.generate_private_key(65537, 1024),  # noqa: S505 - the case
    "a curve that tokens do not have": ec.generate_private_key(ec.SECP256K1()),
    "a key that only agrees": x25519.X25519PrivateKey.generate(),
    "a key of DSA": dsa.generate_private_key(2048),
}


@pytest.mark.parametrize(("key", "own"), FAMILIES.values(), ids=FAMILIES)
def test_a_key_allows_the_algorithms_of_its_family_and_no_other(key: PrivateKeyTypes, own: tuple[str, ...]) -> None:
    """Unless one is named it is the family's first; one of another family is refused at start."""
    env = {"AUTH_JWT_PUBLIC_KEY": public(key)}
    assert Settings.from_env(env).auth_jwt.algorithms == own[:1]
    everything = {name for _, names in FAMILIES.values() for name in names} | {*ALGORITHMS} - {""}
    for name in everything:
        if name in own:
            assert Settings.from_env(env | {"AUTH_JWT_ALGORITHM": name}).auth_jwt.algorithms == (name,)
            continue
        with pytest.raises(SettingsError, match=r"^AUTH_JWT_ALGORITHM: does not go with the key: it may be "):
            Settings.from_env(env | {"AUTH_JWT_ALGORITHM": name})


@pytest.mark.parametrize(("key", "own"), FAMILIES.values(), ids=FAMILIES)
async def test_a_token_signed_with_the_key_is_taken_in_its_own_algorithm(
    valkey_server: RedisServer, key: PrivateKeyTypes, own: tuple[str, ...]
) -> None:
    claims = {"sub": "ada", "exp": int(time.time()) + 3600}
    async with open_shop(valkey_server.url, auth_jwt={"public_key": public(key)}) as shop:
        found = {}
        for name in own:
            token = jwt.encode(claims, key, name)  # type: ignore[arg-type] # a key of one of its families
            answer = await shop.client.get("/orders", headers={"Authorization": f"Bearer {token}"})
            found[name] = answer.status_code
    assert found == {name: 200 if name == own[0] else 401 for name in own}


@pytest.mark.parametrize("key", NO_TOKEN_KEYS.values(), ids=NO_TOKEN_KEYS)
def test_a_key_that_no_token_can_be_signed_with_is_refused_at_start(key: PrivateKeyTypes) -> None:
    with pytest.raises(SettingsError, match=r"^AUTH_JWT_PUBLIC_KEY: (an RSA key needs|the key is neither)"):
        Settings.from_env({"AUTH_JWT_PUBLIC_KEY": public(key)})
