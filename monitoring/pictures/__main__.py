"""`python -m monitoring.pictures`: draw the dashboards, of any Prometheus or of a sale that is played for it."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from deploy.stack import Stack
from deploy.stack.merchant import merchant
from monitoring.dashboards.ask import Prometheus, Window
from monitoring.dashboards.check import documents
from monitoring.pictures.page import WIDTH, page
from monitoring.pictures.story import CROWDS, SLOW_PAYMENTS, play

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
BEFORE_SECONDS = 30


def draw(url: str, window: Window, folder: Path, chromium: str) -> None:
    """Write a picture of each dashboard over a time."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only pictures need a browser

    folder.mkdir(parents=True, exist_ok=True)
    with Prometheus(url) as prometheus, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, document in documents().items():
            tab = browser.new_page(viewport={"width": WIDTH, "height": 900})
            tab.set_content(page(prometheus, document, window))
            tab.screenshot(path=folder / f"dashboard-{name}.png", full_page=True)
            sys.stdout.write(f"{folder / f'dashboard-{name}.png'}\n")
        browser.close()


def make(folder: Path, chromium: str) -> None:
    """Start the stack, play a sale, draw it."""
    with (
        tempfile.TemporaryDirectory() as directory,
        merchant() as endpoint,
        Stack(Path(directory), variables=endpoint.variables, environment=SLOW_PAYMENTS) as stack,
    ):
        time.sleep(BEFORE_SECONDS)  # some scrapes of a quiet shop, and a rate of each counter at 0
        shop = "front" if "front" in stack.parts else "api-1"
        for report in asyncio.run(play(stack.url(shop), stack.admin_token)):
            sys.stdout.write(f"{report.orders} orders, {report.accepted} accepted, {report.unknown} unknown\n")
        window = Window.last((sum(seconds for _, seconds, _ in CROWDS) + BEFORE_SECONDS) / 60)
        draw(stack.url("prometheus"), window, folder, chromium)


def main() -> int:
    """Run a command."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.pictures", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("make", help="start the stack, play a sale of four minutes, draw it")
    drawn = commands.add_parser("draw", help="draw what a running Prometheus has")
    for command in (made, drawn):
        command.add_argument("--folder", type=Path, default=FOLDER, help="where to (default: docs/pictures)")
        command.add_argument("--chromium", default="/usr/bin/chromium", help="the browser (default: %(default)s)")
    drawn.add_argument("--prometheus", default="http://localhost:9090", help="its URL (default: %(default)s)")
    drawn.add_argument("--minutes", type=float, default=15, help="how far to look back (default: %(default)s)")
    given = parser.parse_args()
    if given.command == "make":
        make(given.folder, given.chromium)
    else:
        draw(given.prometheus, Window.last(given.minutes), given.folder, given.chromium)
    return 0


if __name__ == "__main__":
    sys.exit(main())
