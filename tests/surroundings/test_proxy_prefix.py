"""Below a path of a proxy's: a real nginx that takes the prefix away, and one that hands it on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import async_playwright
from websockets.asyncio.client import connect

from service.settings import Settings, SettingsError
from tests.support import Program, executable, free_port, wait_until
from tests.support.http import http_client
from tests.support.shop import Shop, open_shop
from tests.support.stores import RedisServer

CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /sale {{ proxy_pass {api}{bare}; }}
    location /sale/ {{
      proxy_pass {api}{slash};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection $http_connection;
      proxy_set_header Upgrade $http_upgrade;
    }}
  }}
}}
"""


@asynccontextmanager
async def nginx(directory: Path, api: str, *, takes_it_away: bool) -> AsyncIterator[str]:
    """Run an nginx that publishes the API below `/sale`; yield that address, without a slash."""
    port = free_port()
    slash, bare = ("/", "/sale") if takes_it_away else ("", "")
    text = CONFIGURATION.format(directory=directory, port=port, api=api, slash=slash, bare=bare)
    (directory / "nginx.conf").write_text(text)
    url = f"http://127.0.0.1:{port}/sale"
    with Program([executable("nginx"), "-e", "stderr", "-c", str(directory / "nginx.conf")]):

        async def answers() -> bool:
            async with http_client() as client:
                try:
                    return (await client.get(f"{url}/healthz")).status_code == httpx.codes.OK
                except httpx.TransportError:
                    return False

        await wait_until(answers, 15, "nginx answers")
        yield url


@pytest.fixture(params=[True, False], ids=["taken away", "handed on"])
async def published(
    request: pytest.FixtureRequest, tmp_path: Path, valkey_server: RedisServer
) -> AsyncIterator[tuple[Shop, str]]:
    """Yield a shop and the address under which the world knows it."""
    async with open_shop(valkey_server.url, root_path="/sale/") as shop:
        await shop.put()
        async with nginx(tmp_path, shop.url, takes_it_away=request.param) as url:
            yield shop, url


async def test_what_the_answers_name_is_below_the_prefix(published: tuple[Shop, str]) -> None:
    """An order is found where its `Location` says; a client made from the document asks below the prefix."""
    shop, url = published
    async with http_client() as client:
        body = {"product_id": "lamp", "user_id": "ada", "quantity": 1}
        for headers in ({}, {"X-Odd": "1", "Content-Type": "application/json; charset=utf-8"}):
            placed = await client.post(f"{url}/orders", json=body, headers=headers)
            assert placed.status_code == 202, placed.text
            location = placed.headers["location"]
            assert location == f"/sale/orders/{placed.json()['order_id']}"
            found = await client.get(httpx.URL(url).join(location))
            assert found.json()["order_id"] == placed.json()["order_id"]
        document = (await client.get(f"{url}/openapi.json")).json()
        assert document["servers"] == [{"url": "/sale"}]
        bare = await client.get(url)
        assert (bare.status_code, bare.headers["location"]) == (308, "/sale/")
        assert (await client.get(f"{url}/nothing")).json()["code"] == "not_found"
    requests = (await shop.service.live.live_metrics()).requests
    routes = {entry.route for entry in requests} - {""}
    assert routes <= {"/orders", "/orders/{order_id}", "/inventory/{product_id}", "/healthz", "/openapi.json", "/sale"}
    assert shop.seen.value(
        "http_server_request_duration_seconds_count", http_route="/orders", http_request_method="POST"
    )


async def test_the_figures_come_through(published: tuple[Shop, str]) -> None:
    _, url = published
    async with connect(f"{url.replace('http', 'ws', 1)}/monitoring") as socket:
        assert '"snapshot"' in str(await socket.recv())


@pytest.mark.needs("chromium")
async def test_the_pages_work_below_the_prefix(published: tuple[Shop, str]) -> None:
    """In a real browser, from the bare prefix on: the page, its files, its WebSocket, a purchase, the links."""
    _, url = published
    origin = url.removesuffix("/sale")
    strayed: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable("chromium"), args=["--no-sandbox"])
        page = await browser.new_page()

        def note(asked: Any) -> None:
            if not asked.url.startswith(f"{url}/") and asked.url != url:
                strayed.append(asked.url)

        page.on("request", note)
        await page.goto(url)
        await page.wait_for_selector("body[data-state=live]", timeout=20_000)
        await page.get_by_role("link", name="Shop").click()
        await page.get_by_label("Lamp").check()
        await page.get_by_label("Your name").fill("ada")
        await page.get_by_role("button", name="Buy", exact=True).click()
        await page.locator("#ticket[data-state=pending]").wait_for()
        links = await page.eval_on_selector_all("nav a", "links => links.map(link => link.href)")
        await browser.close()
    assert links == [f"{url}{path}" for path in ("/", "/shop", "/operator", "/docs", "/metrics")]
    assert strayed == [], f"asked outside of the prefix, at {origin}"


async def test_who_knows_no_prefix_asks_as_before(valkey_server: RedisServer) -> None:
    """A probe beside the proxy; and only the whole prefix is one."""
    async with open_shop(valkey_server.url, root_path="/sale") as shop:
        found = {
            path: (await shop.client.get(path)).status_code
            for path in ("/healthz", "/sale/healthz", "/sales/healthz", "/sale/sale/healthz", "/salehealthz")
        }
    assert found == {
        "/healthz": 200, "/sale/healthz": 200, "/sales/healthz": 404, "/sale/sale/healthz": 404, "/salehealthz": 404
    }  # fmt: skip


def test_a_prefix_that_is_none_is_refused_at_start() -> None:
    for text, prefix in {"/": "", "/sale": "/sale", "/sale/": "/sale", "/a/b-c/v1.2": "/a/b-c/v1.2"}.items():
        assert Settings.from_env({"ROOT_PATH": text}).root_path == prefix
    for text in (
        "sale",
        "/sale?x",
        "/sale#x",
        "//evil.example",
        "/a//b",
        "/../x",
        "/a/./b",
        "/sal e",
        "https://x/y",
        "/ä",
    ):
        with pytest.raises(SettingsError, match=r"^ROOT_PATH: '.*' is not the beginning of a path such as /sale$"):
            Settings.from_env({"ROOT_PATH": text})
