"""The pages as they are sent: a strict policy, tags for the cache, nothing in them that the policy would refuse."""

import re
from pathlib import Path

import pytest

from service.api import pages
from service.metrics import REASONS
from service.problems import PROBLEMS
from service.settings import Settings, SettingsError
from tests.support.shop import open_shop, problem
from tests.support.stores import RedisServer

PAGE = Path(pages.__file__).parent / "page"
TOKEN = "of-watchers"  # noqa: S105 - of a server that lives as long as a test
FILES = sorted(path.name for path in PAGE.iterdir())
DOCS = ("/docs", "/redoc")
ADDRESSES = [*pages.PAGES, *(f"/page/{name}" for name in (*FILES, *pages.INSTALLED) if not name.endswith(".html"))]


async def test_every_file_is_sent_with_the_policy_and_can_be_revalidated(valkey_server: RedisServer) -> None:
    """Known by its tag it costs a 304; of another content it does not."""
    async with open_shop(valkey_server.url) as shop:
        for address in ADDRESSES:
            answer = await shop.client.get(address)
            assert answer.status_code == 200, address
            policies = answer.headers.get_list("content-security-policy")
            assert policies[-1] == (pages.DOCS_POLICY if address in DOCS else pages.POLICY)
            assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
            assert answer.headers["cache-control"] == "no-cache"
            tag = answer.headers["etag"]
            for known in (tag, f'"other", W/{tag}', "*"):
                again = await shop.client.get(address, headers={"If-None-Match": known})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            assert (await shop.client.get(address, headers={"If-None-Match": '"other"'})).status_code == 200
            head = await shop.client.head(address)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == str(len(answer.content))


def test_the_policy_allows_nothing_but_the_pages_own_files() -> None:
    """No inline script or style, no evaluation, no other host, no frame, no text that becomes markup."""
    policy = dict(rule.partition(" ")[::2] for rule in pages.POLICY.split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in pages.POLICY


def test_the_documents_policy_names_no_other_host() -> None:
    """Swagger UI and Redoc need styles of their own making, and Redoc a worker; scripts are files of this service."""
    assert "http" not in pages.DOCS_POLICY
    assert "script-src 'self';" in pages.DOCS_POLICY


async def test_other_names_are_not_files(valkey_server: RedisServer) -> None:
    async with open_shop(valkey_server.url) as shop:
        for name in ("live.html", "pages.py", "..%2Fpages.py", "%2e%2e/pages.py", "nothing.js"):
            problem(await shop.client.get(f"/page/{name}"), 404, "not_found")


async def test_settings_reach_the_page_as_attributes(valkey_server: RedisServer) -> None:
    """Escaped: a quote in an address does not end the attribute."""
    async with open_shop(valkey_server.url, jaeger_url='https://jaeger.example/"><b>') as shop:
        text = (await shop.client.get("/")).text
        assert 'data-jaeger-url="https://jaeger.example/&quot;&gt;&lt;b&gt;"' in text
        assert 'data-watch-token=""' in text
    async with open_shop(valkey_server.url, monitoring_token=TOKEN, idempotency_ttl_seconds=60) as shop:
        assert 'data-watch-token="yes"' in (await shop.client.get("/")).text
        assert 'data-key-seconds="60"' in (await shop.client.get("/shop")).text
        assert TOKEN not in (await shop.client.get("/")).text


@pytest.mark.parametrize(
    "address", ["localhost:16686", "ftp://jaeger", "http://", "http:// jaeger", "javascript:alert(1)"]
)
def test_an_address_of_jaeger_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^JAEGER_URL: "):
        Settings.from_env({"JAEGER_URL": address})


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".html")])
def test_a_page_has_nothing_inline_and_names_no_other_host(name: str) -> None:
    text = (PAGE / name).read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=\"page/[\w.-]+\")", text) == []
    assert re.findall(r"<style|\bstyle=|\son\w+=|javascript:", text) == []
    assert re.findall(r"(?:src|href)=\"(?:\w+:)?//", text) == []
    assert re.findall(r"data-(?:jaeger-url|watch-token|shopper-tokens|key-seconds)=\"[^\"]", text) == []


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".js", ".css"))])
def test_a_script_makes_no_markup_and_asks_no_other_host(name: str) -> None:
    """Text goes in by `textContent` or as a text node."""
    text = (PAGE / name).read_text().replace('"http://www.w3.org/2000/svg"', "")
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|srcdoc"
    assert re.findall(markup, text) == []
    assert re.findall(r"https?://|@import|url\(", text) == []


def test_the_page_has_words_for_every_refusal_and_for_no_other() -> None:
    """One table: what the metrics count is named in it, and a code that no answer has would be a word for nothing."""
    text = (PAGE / "order_text.js").read_text()
    table = re.search(r"const REFUSALS = \{\n(.*?)\n\};", text, re.DOTALL)
    assert table
    codes = set(re.findall(r"^  (\w+): \{", table[1], re.MULTILINE))
    assert set(map(str, REASONS)) <= codes
    assert codes - PROBLEMS.keys() == {"other", "too_old", "withdrawn"}
    assert [path.name for path in PAGE.glob("*.js") if "sold_out:" in path.read_text()] == ["order_text.js"]
