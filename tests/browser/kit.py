"""What the tests of the pages share: a tab that remembers its complaints, names that try to be more than text."""

import re
from typing import Any

from playwright.async_api import ConsoleMessage, Page

from tests.support import wait_until

HOSTILE = (
    '<img src=x onerror="document.title=1">',
    "</script><script>document.title=2</script>",
    "\"quotes\" 'and' & <b>bold</b> {{x}} ${y}",
    "line\u2028separator\u2029paragraph",
    "\u202egnihton rof eno\u202c",
    "W" * 200,
)
EXPECTED = re.compile(
    r"Failed to load resource: the server responded with a status of 4\d\d"  # a refusal
    r"|net::ERR_CONNECTION_REFUSED|net::ERR_SOCKET_NOT_CONNECTED"  # a tab outlives the service of its test
)
AWAY = re.compile(r"Failed to load resource|WebSocket connection to .* failed|net::ERR_")


class Tab:
    """A page under test. `away`: whether requests may fail for reasons of the service."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.away = False
        self._complaints: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self._complaints.append(f"uncaught: {error}"))
        page.on("dialog", lambda dialog: self._complaints.append(f"dialog: {dialog.message}"))

    def _note(self, message: ConsoleMessage) -> None:
        expected = EXPECTED.search(message.text) or (self.away and AWAY.search(message.text))
        if message.type in {"error", "warning"} and not expected:
            self._complaints.append(f"{message.type}: {message.text}")

    def check(self) -> None:
        """Fail if the console holds an error, a refusal of the policy, or an exception."""
        assert not self._complaints, self._complaints

    async def text(self, element_id: str) -> str:
        """Return the text of an element."""
        return await self.page.locator(f"#{element_id}").text_content() or ""

    async def figures(self) -> dict[str, Any]:
        """Return what the live page shows, all of one instant."""
        found: dict[str, Any] = await self.page.evaluate(READ_FIGURES)
        return found

    async def until_text(self, element_id: str, text: str, deadline_seconds: float = 30) -> None:
        """Wait until an element's text has `text` in it."""

        async def said() -> bool:
            return text in await self.text(element_id)

        await wait_until(said, deadline_seconds, f"#{element_id} says {text!r}")

    async def width_beyond(self) -> int:
        """Return how many pixels the page is wider than the window."""
        found: int = await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return found


READ_FIGURES = """() => {
  const number = (id) => document.getElementById(id).textContent;
  const cells = (row) => [...row.querySelectorAll("td.figure")].map((cell) => cell.textContent);
  const rows = (selector, key) =>
    Object.fromEntries([...document.querySelectorAll(selector)].map((row) => [row.dataset[key], cells(row)]));
  return {
    accepted: number("accepted-total"), confirmed: number("confirmed-total"), throughput: number("throughput"),
    queue: number("queue-length"), connections: number("connections"), error_rate: number("error-rate"),
    products: rows("#products tr", "product"), outcomes: rows("#outcomes tr", "key"),
    refusals: rows("#refusals tr", "key"), requests: rows("#requests tr", "request"),
    state: document.body.dataset.state,
  };
}"""


def shown(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return what the live page has to show of a snapshot of the API."""
    refused = {code: [f"{count:,}"] for code, count in snapshot["rejections"].items() if count}
    return {
        "accepted": f"{snapshot['orders']['pending']:,}",
        "confirmed": f"{snapshot['orders']['confirmed']:,}",
        "throughput": f"{snapshot['throughput']:.1f}",
        "queue": f"{snapshot['queue']['length']:,}",
        "connections": f"{snapshot['active_connections']:,}",
        "error_rate": f"{snapshot['error_rate']:.1f}",
        "products": {
            product["product_id"]: [f"{product[unit]:,}" for unit in ("sold", "held", "stock")]
            for product in snapshot["products"]
        },
        "outcomes": {status: [f"{count:,}"] for status, count in snapshot["orders"].items()},
        "refusals": refused,
    }
