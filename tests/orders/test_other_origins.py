"""Pages of other origins: what CORS_ORIGINS lets a browser do, and that without it nothing is allowed."""

from collections.abc import AsyncIterator

import httpx
import pytest

from service.settings import Settings, SettingsError
from tests.conftest import MakeServer
from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import PRODUCT, Shop, open_shop, problem

SHOP = "https://shop.example"
ORDER = {"product_id": "lamp", "user_id": "ada", "quantity": 1}
PREFLIGHT = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
ALLOWED = "access-control-allow-origin"


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield a service that one other origin may use."""
    async with open_shop(valkey_server.url, cors_origins=(SHOP,)) as shop:
        await shop.client.put("/inventory/lamp", json=PRODUCT, headers=ADMIN)
        yield shop


@pytest.mark.parametrize("path", ["/orders", "/inventory", "/monitoring/health", "/monitoring/metrics", "/nowhere"])
async def test_a_preflight_is_answered_before_any_route(shop: Shop, path: str) -> None:
    asked = PREFLIGHT | {"Access-Control-Request-Headers": "content-type, idempotency-key, authorization, traceparent"}
    answer = await shop.client.options(path, headers=asked)
    assert answer.status_code == httpx.codes.OK
    assert answer.headers[ALLOWED] == SHOP
    assert {"POST", "PUT", "PATCH", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert "access-control-allow-credentials" not in answer.headers
    assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize(
    "asked",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"{SHOP}.evil.example"},
        {"Access-Control-Request-Method": "TRACE"},
        {"Access-Control-Request-Headers": "x-evil"},
    ],
)
async def test_a_preflight_for_something_else_is_refused(shop: Shop, asked: dict[str, str]) -> None:
    """As a problem, which whoever looks into the browser's tools can read."""
    answer = await shop.client.options("/orders", headers=PREFLIGHT | asked)
    assert "CORS_ORIGINS" in problem(answer, 400, "bad_request")["detail"]
    assert answer.headers.get(ALLOWED) == (SHOP if "Origin" not in asked else None)


async def test_every_answer_may_be_read_by_the_page(shop: Shop) -> None:
    """An order, a refusal, a body that is too large, a path that is not there, and the headers that matter."""
    headers = {"Origin": SHOP}
    answers = [
        await shop.client.post("/orders", json=ORDER, headers=headers),
        await shop.client.post("/orders", json=ORDER | {"product_id": "no"}, headers=headers),
        await shop.client.post("/orders", content=b"x" * 100_000, headers=headers),
        await shop.client.get("/nowhere", headers=headers),
        await shop.client.get("/inventory", headers=headers),
        await shop.client.request("HEAD", "/inventory", headers=headers),
        await shop.client.get("/monitoring/metrics", headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [202, 404, 413, 404, 200, 200, 200]
    for answer in answers:
        assert answer.headers[ALLOWED] == SHOP
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert all(name in exposed for name in ("location", "retry-after", "idempotency-replayed", "etag", "ratelimit"))


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}])
async def test_who_is_not_named_gets_no_leave_and_caches_know(shop: Shop, headers: dict[str, str]) -> None:
    """What a cache kept for one origin must not be given to another."""
    answer = await shop.client.get("/inventory", headers=headers)
    assert answer.status_code == httpx.codes.OK
    assert ALLOWED not in answer.headers
    assert answer.headers["vary"] == "Accept-Encoding, Origin"


async def test_it_is_off_by_default(valkey_server: RedisServer) -> None:
    async with open_shop(valkey_server.url) as shop:
        problem(await shop.client.options("/orders", headers=PREFLIGHT), 405, "method_not_allowed")
        answer = await shop.client.get("/inventory", headers={"Origin": SHOP})
    assert [name for name in answer.headers if name.startswith("access-control")] == []


async def test_all_origins(make_server: MakeServer) -> None:
    async with open_shop(make_server("valkey").url, cors_origins=("*",)) as shop:
        answer = await shop.client.get("/inventory", headers={"Origin": "https://any.example"})
        asked = await shop.client.options("/orders", headers=PREFLIGHT | {"Origin": "https://any.example"})
    assert (answer.headers[ALLOWED], asked.headers[ALLOWED]) == ("*", "*")


@pytest.mark.parametrize("bad", ["shop.example", "https://shop.example/", "https://a@b", "https://a, ,", "null", "**"])
def test_what_is_no_origin_is_refused_at_start(bad: str) -> None:
    with pytest.raises(SettingsError, match=r"CORS_ORIGINS: .* is not an origin such as https://shop\.example"):
        Settings.from_env({"CORS_ORIGINS": bad})
    assert Settings.from_env({"CORS_ORIGINS": "https://A.example , http://b:8080"}).cors_origins == (
        "https://a.example",
        "http://b:8080",
    )


def test_an_origin_is_what_a_browser_sends() -> None:
    """Which leaves the port out that is the scheme's own."""
    given = "https://shop.example:443,http://shop.example:80,https://shop.example:80,http://shop.example:4443"
    assert Settings.from_env({"CORS_ORIGINS": given}).cors_origins == (
        *("https://shop.example", "http://shop.example"),
        *("https://shop.example:80", "http://shop.example:4443"),
    )
