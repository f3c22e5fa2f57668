"""`python -m deploy.stack up` runs the stack until Ctrl-C; `tools` builds its programs; `check` looks at all of it.

`up` puts the demo catalogue on sale and, with CROWD (orders per second, 0), sends shoppers. Data is kept in DATA_DIR
(.data)/stack.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.error import URLError

from deploy.stack.report import targets
from deploy.stack.run import Stack, StackError
from deploy.stack.tools import ToolMissing, build
from monitoring.dashboards.check import check as check_panels
from service.ledger.catalogue import ProductCatalogue
from service.ledger.demo import stock_demo
from service.parent_death import die_with_parent
from service.processes.startup import open_shards
from service.settings import Settings, SettingsError

POLL_SECONDS = 1.0
LOOK_BACK_MINUTES = 15.0
URLS = "urls.json"
KEY_BYTES = 32
"""The collector takes no shorter key for its hashes."""
VARIABLES = ("ADMIN_TOKEN", "FAULTS_ENABLED", "JAEGER_URL", "REDACTION_KEY")
"""Of docker-compose.yml, taken from the environment."""
PAGES = {
    "front": "the sale, both replicas",
    "api-1": "the sale, replica 1",
    "api-2": "the sale, replica 2",
    "grafana": "Grafana",
    "prometheus": "Prometheus",
    "alertmanager": "Alertmanager",
    "jaeger": "Jaeger",
    "worker": "the worker's /metrics",
}


def main() -> int:
    """Run a command and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything; Ctrl-C ends it")
    tools = commands.add_parser("tools", help="build the programs that are missing, with Go")
    tools.add_argument("names", nargs="*", help="alertmanager, prometheus, otelcol, jaeger; all of them by default")
    commands.add_parser("check", help="of a stack that is up: its targets, exemplars and panels")
    arguments = parser.parse_args()
    try:
        if arguments.command == "tools":
            return show_tools(arguments.names)
        return up() if arguments.command == "up" else check()
    except (ToolMissing, StackError, SettingsError) as error:
        sys.stderr.write(f"stack: {error}\n")
        return 1


def show_tools(names: list[str]) -> int:
    """Build what is missing and print every path."""
    for path in build(names):
        sys.stdout.write(f"{path.name:22}{path}\n")
    return 0


def check() -> int:
    """Print what the stack that runs from this directory says of itself; return 1 when something is wrong."""
    try:
        urls = json.loads((_directory() / URLS).read_text())
        lines, good = targets(urls["prometheus"])
    except (FileNotFoundError, URLError) as error:
        raise StackError(f"no stack is up in {_directory()}, `make stack` starts one: {error}") from None
    sys.stdout.write("\n".join([*lines, "", ""]))
    sys.stdout.flush()
    panels = check_panels(urls["prometheus"], minutes=LOOK_BACK_MINUTES, jaeger=urls["jaeger"])
    return 0 if good and panels == 0 else 1


def up() -> int:
    """Run the stack until SIGINT, SIGTERM or SIGHUP.

    Raises:
        SettingsError: CROWD is not a number of orders per second.
        StackError: The collector would not take REDACTION_KEY, or a part did not start.
    """
    settings = Settings.from_env({"CROWD": os.environ.get("CROWD", "").strip() or "0"})
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    variables = {key: os.environ[key] for key in VARIABLES if key in os.environ}
    if 0 < len(variables.get("REDACTION_KEY", "").encode()) < KEY_BYTES:
        raise StackError(f"REDACTION_KEY: has fewer than {KEY_BYTES} bytes; leave it out, or take a longer one")
    sys.stdout.write(f"starting, logs are in {_directory()}\n")
    sys.stdout.flush()
    with Stack(_directory(), variables=variables) as stack:
        (stack.directory / URLS).write_text(json.dumps({name: stack.url(name) for name in stack.parts}))
        asyncio.run(_offer_demo(settings, stack.url("redis")))
        _announce(stack)
        crowd = _crowd(stack, settings.crowd)
        while not stop.wait(POLL_SECONDS):
            for name in stack.keep():
                sys.stderr.write(f"stack: {name} ended and was started again, see {stack.parts[name].log}\n")
        sys.stdout.write("stopping\n")
        if crowd is not None:
            crowd.terminate()
            crowd.wait()
    return 0


def _directory() -> Path:
    return Path(os.environ.get("DATA_DIR", "").strip() or ".data").resolve() / "stack"


def _announce(stack: Stack) -> None:
    lines = [f"{text:24} {stack.url(name)}" for name, text in PAGES.items() if name in stack.parts]
    lines += [f"{'admin token':24} {stack.admin_token}", f"{'data and logs':24} {stack.directory}"]
    lines += [f"{name + ' is left out':24} {why}" for name, why in stack.left_out.items()]
    sys.stdout.write("\n".join(["", *lines, "Ctrl-C stops everything.", "", ""]))
    sys.stdout.flush()


async def _offer_demo(settings: Settings, store: str) -> None:
    async with open_shards(settings, store, name="stack") as shards:
        await stock_demo(ProductCatalogue(shards))


def _crowd(stack: Stack, rate: float) -> subprocess.Popen[bytes] | None:
    """Send shoppers for as long as the stack runs."""
    if not rate:
        return None
    url = stack.url("front" if "front" in stack.parts else "api-1")
    argv = [sys.executable, "-P", "-m", "service", "process", "crowd", "--url", url, "--rate", str(rate)]
    return subprocess.Popen(die_with_parent(argv), start_new_session=True)  # noqa: S603 - our own program


if __name__ == "__main__":
    sys.exit(main())
