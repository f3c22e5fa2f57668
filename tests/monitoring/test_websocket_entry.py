"""Who may watch: pages of other origins, tokens, a limit, and how a refusal looks before the handshake."""

import base64
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from service.settings import Settings, SettingsError
from tests.monitoring.watchers import TIMEOUT_SECONDS, read, upgrade, watch
from tests.support import RedisServer, wait_until
from tests.support.shop import Shop, open_shop


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API without order workers, with ten lamps on sale."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put()
        yield shop


async def refused(shop: Shop, status: int, code: str, **options: Any) -> None:
    """Check that a handshake is answered with a problem."""
    with pytest.raises(InvalidStatus) as answer:
        async with watch(shop, **options):
            pass
    response = answer.value.response
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.body is not None
    assert json.loads(response.body)["code"] == code
    assert (status == 503) == ("retry-after" in response.headers)


async def test_pages_of_other_origins_are_refused(valkey_server: RedisServer) -> None:
    async with open_shop(
        valkey_server.url, monitoring_origins="https://ops.example, http://other.example:8080"
    ) as shop:
        here = shop.url
        for origin in (None, here, "https://ops.example", "http://other.example:8080", "HTTPS://OPS.EXAMPLE"):
            async with watch(shop, origin=origin) as client:
                assert (await read(client))["type"] == "snapshot"
        for origin in ("https://evil.example", "http://ops.example", "null", f"{here}.evil.example", f"{here}0"):
            await refused(shop, 403, "origin_refused", origin=origin)
        assert shop.seen.value("flash_sale_websocket_refused_total", reason="origin") == 5
        assert shop.seen.value("flash_sale_websocket_refused_total", reason="token") == 0


@pytest.mark.parametrize(
    ("host", "origin", "same"),
    [
        ("shop.example", "https://shop.example", True),
        ("shop.example", "https://shop.example:443", True),
        ("shop.example", "https://shop.example:8443", False),
        ("shop.example:8443", "https://shop.example:8443", True),
        ("shop.example", "https://www.shop.example", False),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("shop.example", "ftp://shop.example", False),
        ("shop.example", "http://shop.example:no", False),
    ],
)
async def test_behind_a_proxy_the_host_decides(valkey_server: RedisServer, host: str, origin: str, same: bool) -> None:
    """A proxy that ends the TLS hands on the name that the page has, with or without the port."""
    async with (
        open_shop(valkey_server.url, allowed_hosts="shop.example") as shop,
        upgrade(shop, f"Host: {host}", f"Origin: {origin}") as status,
    ):
        assert status == (101 if same else 403)


async def test_a_token_may_be_asked_for(valkey_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """In `Authorization`, or as a browser can send it, in a subprotocol; it opens the JSON as well."""
    token = "tell-nobody/=?"  # noqa: S105 - of a server that lives as long as this test
    offered = f"bearer.{base64.urlsafe_b64encode(token.encode()).decode().rstrip('=')}"
    caplog.set_level(logging.DEBUG)
    async with open_shop(valkey_server.url, monitoring_token=token) as shop:
        bearer = {"Authorization": f"Bearer {token}"}
        async with watch(shop, subprotocols=["flash-sale.monitoring", offered]) as client:
            assert client.subprotocol == "flash-sale.monitoring"
            assert (await read(client))["type"] == "snapshot"
        await refused(shop, 401, "unauthorized")
        await refused(shop, 401, "unauthorized", additional_headers={"Authorization": "Bearer wrong"})
        await refused(shop, 401, "unauthorized", subprotocols=["flash-sale.monitoring", "bearer.____", "bearer.x"])
        assert shop.seen.value("flash_sale_websocket_refused_total", reason="token") == 3
        for path in ("metrics", "errors", "benchmark"):
            assert (await shop.client.get(f"/monitoring/{path}")).status_code == 401
            assert (await shop.client.get(f"/monitoring/{path}", headers=bearer)).status_code == 200, path
        assert (await shop.client.get("/monitoring/health")).status_code == 200
        told = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.client")]
        told += [str(dict(span.attributes or {})) for span in shop.seen.spans()]
        assert not [text for text in told if "tell-nobody" in text or offered in text]
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR], "a refusal is no error"


async def test_more_than_so_many_are_told_to_come_back(valkey_server: RedisServer) -> None:
    async with open_shop(valkey_server.url, monitoring_max_clients=2) as shop:
        async with watch(shop) as one, watch(shop):
            await refused(shop, 503, "overloaded")
            assert (await read(one))["type"] == "snapshot"
        await wait_until(lambda: len(shop.service.broadcast) == 0, TIMEOUT_SECONDS, "both are gone")
        async with watch(shop) as client:
            assert (await read(client))["type"] == "snapshot"
        assert shop.seen.value("flash_sale_websocket_refused_total", reason="full") == 1


async def test_an_upgrade_to_another_path_is_ignored(shop: Shop) -> None:
    with pytest.raises(InvalidStatus) as answer:
        async with connect(f"{shop.url.replace('http', 'ws', 1)}/nope"):
            pass
    assert answer.value.response.status_code == 404


def test_an_origin_that_is_none_is_refused_at_start() -> None:
    assert Settings.from_env({"MONITORING_ORIGINS": "https://A.example , *"}).monitoring_origins == (
        "https://a.example",
        "*",
    )
    for text in ("shop.example", "https://a.example/live", "https://a.example,,"):
        with pytest.raises(SettingsError, match=r"^MONITORING_ORIGINS: '.*' is not an origin such as https://"):
            Settings.from_env({"MONITORING_ORIGINS": text})
