"""Limits on orders of one user and of one address: true over all processes, told in the answers, not to be faked."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from service.api.client_address import client_address
from service.ledger.audit import dump_ledger, violations
from service.ledger.rates import FleetRates, Rate
from service.settings import Settings, SettingsError
from tests.orders.sale import Sale
from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import PRODUCT, Shop, open_shop, problem

SLOW = 0.01
LOOPBACK = (ip_network("127.0.0.0/8"),)
PLAIN = {"Content-Type": "application/json"}
ODD = {"Content-Type": "application/json; charset=utf-8"}
"""Goes the long way, through the framework."""


async def two(stack: AsyncExitStack, store: str, **settings: Any) -> tuple[Shop, Shop]:
    """Serve two processes' worth of the API on one store."""
    first = await stack.enter_async_context(open_shop(store, **settings))
    second = await stack.enter_async_context(open_shop(store, **settings))
    terms = PRODUCT | {"stock": 1000, "per_user_limit": None}
    assert (await first.client.put("/inventory/lamp", json=terms, headers=ADMIN)).is_success
    return first, second


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Yield what closes the shops."""
    async with AsyncExitStack() as stack:
        yield stack


async def buy(shop: Shop, user: str, headers: Mapping[str, str] = PLAIN) -> httpx.Response:
    """Order one lamp."""
    body = f'{{"product_id": "lamp", "user_id": "{user}", "quantity": 1}}'
    return await shop.client.post("/orders", content=body, headers=headers)


async def test_a_user_is_limited_by_all_processes_together(stack: AsyncExitStack, valkey_server: RedisServer) -> None:
    """Whichever the user asks, and by whichever way; others are not concerned."""
    one, other = await two(stack, valkey_server.url, rate_limit_per_second=SLOW)
    accepted = await buy(one, "ada")
    assert accepted.status_code == 202
    assert accepted.headers["ratelimit-policy"] == '"user";q=1;w=100'
    assert accepted.headers["ratelimit"] == '"user";r=0;t=100'
    for shop, headers in ((other, PLAIN), (one, ODD), (other, ODD), (one, PLAIN)):
        refused = await buy(shop, "ada", headers)
        assert problem(refused, 429, "rate_limited")["detail"] == "Too many orders of this user."
        assert 90 <= int(refused.headers["retry-after"]) <= 100
        assert refused.headers["ratelimit"].startswith('"user";r=0;t=')
        assert refused.headers["ratelimit-policy"] == '"user";q=1;w=100'
    assert (await buy(other, "eve", ODD)).status_code == 202


async def test_a_second_s_worth_passes_at_once_and_no_more(stack: AsyncExitStack, valkey_server: RedisServer) -> None:
    """Of 40 that come together at two processes."""
    shops = await two(stack, valkey_server.url, rate_limit_per_second=4)
    begun = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(buy(shop, "ada") for shop in shops for _ in range(20)))
    seconds = asyncio.get_running_loop().time() - begun
    passed = sum(answer.status_code == 202 for answer in answers)
    assert 4 <= passed <= 4 + 4 * seconds + 1
    assert {answer.status_code for answer in answers} == {202, 429}
    async with Redis.from_url(valkey_server.url, decode_responses=True) as client:
        sale = await Sale.open(client)
        assert violations(await dump_ledger(sale.shards)) == [], "what is counted is no foreign data"


@pytest.mark.parametrize("headers", [PLAIN, ODD])
async def test_behind_a_trusted_proxy_each_address_counts_for_itself(
    stack: AsyncExitStack, valkey_server: RedisServer, headers: dict[str, str]
) -> None:
    """What the proxy says it heard, and nothing that a client has put before it."""
    shops = await two(
        stack, valkey_server.url, rate_limit_per_address=SLOW, trusted_proxies=("127.0.0.0/8", "10.0.0.0/8")
    )
    told = ["198.51.100.1", "198.51.100.2", "1.1.1.1, 198.51.100.3", "198.51.100.4, 10.0.0.7", "2001:db8::1"]
    again = [
        "9.9.9.9, 198.51.100.1",
        "198.51.100.2:4711",
        "198.51.100.3",
        "8.8.8.8, 198.51.100.4",
        "[2001:db8::ffff]:80",
    ]
    for number, address in enumerate(told):
        accepted = await buy(shops[0], f"u{number}", headers | {"X-Forwarded-For": address})
        assert accepted.status_code == 202, address
        assert accepted.headers["ratelimit"] == '"address";r=0;t=100'
    for number, address in enumerate(again):
        refused = await buy(shops[1], f"v{number}", headers | {"X-Forwarded-For": address})
        assert problem(refused, 429, "rate_limited")["detail"] == "Too many orders of this address."


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8",)])
async def test_what_anybody_else_says_of_its_address_counts_nothing(
    stack: AsyncExitStack, valkey_server: RedisServer, trusted: tuple[str, ...]
) -> None:
    one, other = await two(stack, valkey_server.url, rate_limit_per_address=SLOW, trusted_proxies=trusted)
    assert (await buy(one, "u1", PLAIN | {"X-Forwarded-For": "198.51.100.1"})).status_code == 202
    problem(await buy(other, "u2", PLAIN | {"X-Forwarded-For": "198.51.100.2"}), 429, "rate_limited")


async def test_who_sends_for_many_users_does_not_use_up_their_rates(
    stack: AsyncExitStack, valkey_server: RedisServer
) -> None:
    """And where both limits are set, both are told."""
    limits = {"rate_limit_per_address": SLOW, "rate_limit_per_second": SLOW, "trusted_proxies": ("127.0.0.1",)}
    one, other = await two(stack, valkey_server.url, **limits)
    first = await buy(one, "ada", PLAIN | {"X-Forwarded-For": "198.51.100.1"})
    assert first.headers["ratelimit-policy"] == '"user";q=1;w=100, "address";q=1;w=100'
    assert first.headers["ratelimit"] == '"address";r=0;t=100, "user";r=0;t=100'
    problem(await buy(other, "eve", PLAIN | {"X-Forwarded-For": "198.51.100.1"}), 429, "rate_limited")
    assert (await buy(other, "eve", PLAIN | {"X-Forwarded-For": "198.51.100.2"})).status_code == 202


async def test_without_a_limit_nothing_is_said_of_one(stack: AsyncExitStack, valkey_server: RedisServer) -> None:
    one, _ = await two(stack, valkey_server.url)
    answers = [await buy(one, "ada") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {202}
    assert [name for name in answers[0].headers if name.startswith("ratelimit")] == []


async def test_a_clock_that_steps_back_keeps_nobody_out(valkey: Redis) -> None:
    """No rate leads further ahead than what may come at once."""
    sale = await Sale.open(valkey)
    rates, rate = FleetRates(sale.shards), Rate(1)
    assert (await rates.count("user", "ada", rate)).wait_seconds == 0
    assert 0 < (await rates.count("user", "ada", rate)).wait_seconds <= 1
    (key,) = [key async for key in valkey.scan_iter("*rate:*")]
    due = int(await valkey.get(key) or 0)
    await valkey.set(key, due + 3_600_000_000, px=3_600_000)
    assert (await rates.count("user", "ada", rate)).wait_seconds == 0
    assert 0 < await valkey.pttl(key) <= 1000


@pytest.mark.parametrize(
    ("rate", "quota", "window"), [(1, 1, 1), (5, 5, 1), (0.1, 1, 10), (2.5, 2, 1), (1000, 1000, 1), (1e9, 1_000_000, 1)]
)
def test_what_a_rate_allows_at_once(rate: float, quota: int, window: int) -> None:
    assert (Rate(rate).quota, Rate(rate).window_seconds) == (quota, window)


@pytest.mark.parametrize(
    ("peer", "told", "counts_for"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["198.51.100.1, nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1, nonsense, 127.0.0.9"], "127.0.0.9"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("::ffff:127.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", ["198.51.100.1"], "2001:db8:1:2::/64"),
        ("127.0.0.1", ["fe80::1%eth0"], "fe80::/64"),
        ("testclient", ["198.51.100.1"], None),
    ],
)
def test_which_address_a_request_counts_for(peer: str, told: list[str], counts_for: str | None) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in told]
    assert client_address({"client": (peer, 1), "headers": headers}, LOOPBACK) == counts_for
    assert client_address({"client": None, "headers": headers}, LOOPBACK) is None


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *(("TRUSTED_PROXIES", bad) for bad in ("front", "10.0.0.0/33", "10.0.0.1,,", "*")),
        *(("RATE_LIMIT_PER_ADDRESS", bad) for bad in ("0", "-1", "nan", "inf", "many")),
    ],
)
def test_a_bad_limit_is_refused_at_start(name: str, bad: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}"):
        Settings.from_env({name: bad})
    assert Settings.from_env({"TRUSTED_PROXIES": "10.1.2.3/8 , ::1"}).trusted_proxies == (
        ip_network("10.0.0.0/8"),
        ip_network("::1/128"),
    )
