"""Who asks for us by a name that is not ours is told nothing: a page may have let its own name mean our address."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from service.host_names import HostNames
from service.processes.sockets import is_loopback, listen
from service.settings import Settings, SettingsError
from tests.security.wire import LAST, exchange, request
from tests.support import executable
from tests.support.service import Fleet

OURS = ["localhost", "localhost:8000", "127.0.0.1:8000", "127.8.8.8", "10.1.2.3", "[::1]:8000", "[2001:db8::1]"]
OURS += ["LOCALHOST:80", "localhost.", "sale.localhost", "api-1:8000", "front", ""]
NOT_OURS = ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example."]
NOT_OURS += [
    "a.b",
    "notlocalhost.x",
    "shop.example.evil.example",
    "1.2.3.4.5",
    "127.1",
    "0x7f.0.0.1",
    "evil-localhost.a",
]
WS = (
    *("Connection: Upgrade", "Upgrade: websocket"),
    *("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"),
)

ASK_FOR_EVERYTHING = """async () => {
  const told = {};
  for (const path of ["/monitoring/metrics", "/orders?user_id=ada", "/inventory"]) {
    told[path] = (await fetch(path)).status;
  }
  const socket = new WebSocket(`ws://${location.host}/monitoring`);
  told.ws = await new Promise((done) => {
    socket.onmessage = () => done("figures");
    socket.onclose = () => done("closed");
  });
  return told;
}"""


@pytest.mark.parametrize("host", OURS)
def test_an_address_and_a_name_that_nobody_can_own_are_ours(host: str) -> None:
    assert HostNames((), loopback=True).allow(host.encode())
    assert HostNames(("shop.example",), loopback=False).allow(host.encode())


@pytest.mark.parametrize("host", NOT_OURS)
def test_a_name_that_somebody_may_own_is_ours_only_if_it_is_named(host: str) -> None:
    assert not HostNames((), loopback=True).allow(host.encode())
    assert not HostNames(("shop.example", "*.sale.example"), loopback=False).allow(host.encode())
    assert HostNames(("*",), loopback=True).allow(host.encode())
    assert HostNames((), loopback=False).allow(host.encode()), "a public service cannot know its names"


def test_names_are_compared_whole_and_ends_below_their_dot() -> None:
    names = HostNames(("shop.example", "*.sale.example"), loopback=True)
    for host in ("shop.example", "SHOP.example:443", "shop.example.", "a.sale.example", "a.b.sale.example:80"):
        assert names.allow(host.encode()), host
    for host in ("www.shop.example", "sale.example", "asale.example", "myshop.example"):
        assert not names.allow(host.encode()), host


def test_what_was_asked_is_remembered_within_bounds() -> None:
    """And is answered alike when it is not."""
    names = HostNames((), loopback=True)
    for number in range(3000):
        for _ in range(2):
            assert not names.allow(b"evil%d.example" % number)


def test_the_setting_takes_names_and_nothing_else() -> None:
    found = Settings.from_env({"ALLOWED_HOSTS": "Shop.Example , *.sale.example,10.0.0.1,[::1]"}).allowed_hosts
    assert found == ("shop.example", "*.sale.example", "10.0.0.1", "[::1]")
    for text in ("https://shop.example", "shop.example:80", "shop.example/x", "a b", ",", "*.*", "*shop.example", "-"):
        with pytest.raises(SettingsError, match=r"^ALLOWED_HOSTS: '.*' is not the name of a host such as "):
            Settings.from_env({"ALLOWED_HOSTS": text})


@pytest.mark.parametrize(("host", "alone"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])  # noqa: S104 - the case
def test_who_listens_on_this_machine_alone_is_known_by_its_socket(host: str, alone: bool) -> None:
    with listen("HOST", host, "PORT", 0) as listener:
        assert is_loopback(listener) is alone


@pytest.mark.parametrize(
    "line",
    [
        "GET / HTTP/1.1",
        "GET /shop HTTP/1.1",
        "GET /monitoring/metrics HTTP/1.1",
        "GET /orders?user_id=ada HTTP/1.1",
        "GET /inventory HTTP/1.1",
        "GET /metrics HTTP/1.1",
        "GET /openapi.json HTTP/1.1",
        "POST /orders HTTP/1.1",
        "OPTIONS /orders HTTP/1.1",
        "GET /nothing HTTP/1.1",
    ],
)
def test_a_service_on_loopback_tells_a_strangers_name_nothing(fleet: Fleet, line: str) -> None:
    answer = exchange(fleet.url, request(line, host="evil.example") + LAST)[0]
    assert (answer.status, json.loads(answer.body)["code"]) == (421, "host_refused")
    assert "ALLOWED_HOSTS" in json.loads(answer.body)["detail"]


def test_the_same_origin_is_not_enough_for_a_websocket(fleet: Fleet) -> None:
    """The page's origin and the host that it asks for are one and the same, and both are the stranger's."""
    for scheme in ("http", "https"):
        sent = request("GET /monitoring HTTP/1.1", *WS, f"Origin: {scheme}://evil.example", host="evil.example")
        assert [answer.status for answer in exchange(fleet.url, sent)] == [421]


def test_probes_may_ask_under_any_name(fleet: Fleet) -> None:
    for path in ("/healthz", "/readyz"):
        assert exchange(fleet.url, request(f"GET {path} HTTP/1.1", host="node-7.internal") + LAST)[0].status == 200


def test_what_was_refused_is_counted(fleet: Fleet) -> None:
    exchange(fleet.url, request(host="evil.example") + LAST)
    with fleet.client() as client:
        text = client.get("/metrics").text
    (line,) = [line for line in text.splitlines() if 'reason="host_refused"' in line and "http_refused" in line]
    assert float(line.rsplit(" ", 1)[1]) >= 1


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Fleet]:
    """Yield a service behind a proxy on its own machine: it is asked for by the proxy's name."""
    with Fleet(tmp_path, workers=0, env={"ALLOWED_HOSTS": "shop.example,*.sale.example"}) as fleet:
        yield fleet


def test_behind_a_proxy_its_names_are_told_to_the_service(named: Fleet) -> None:
    page = "GET /inventory HTTP/1.1"
    found = {
        host: exchange(named.url, request(page, host=host) + LAST)[0].status
        for host in ("shop.example", "www.sale.example:8443", "localhost", "evil.example")
    }
    assert found == {"shop.example": 200, "www.sale.example:8443": 200, "localhost": 200, "evil.example": 421}


@pytest.mark.needs("chromium")
async def test_a_page_whose_name_comes_to_mean_our_address_reads_nothing(fleet: Fleet) -> None:
    """In a real browser: `evil.example` resolves to the service's own address, port and all."""
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable("chromium"), args=arguments)
        page = await browser.new_page()
        answer = await page.goto(fleet.url.replace("127.0.0.1", "evil.example") + "/healthz")
        found = await page.evaluate(ASK_FOR_EVERYTHING)
        await browser.close()
    assert answer is not None
    assert answer.status == 200, "the browser reaches the service under this name"
    assert found == {**dict.fromkeys(("/monitoring/metrics", "/orders?user_id=ada", "/inventory"), 421), "ws": "closed"}
