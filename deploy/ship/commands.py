"""What the steps do with: commands of the engine, those that the documents name, Prometheus, waiting."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from deploy.ship.shoppers import StepFailed
from deploy.stack.compose import ROOT

PROMETHEUS = "http://127.0.0.1:9090"
WAIT_SECONDS = 120.0
GUIDE = ROOT / "docs" / "deploying.md"


def run(*argv: str, check: bool = True) -> str:
    """Run a command at the root of the checkout and return what it printed.

    Raises:
        StepFailed: It failed.
    """
    done = subprocess.run(  # noqa: S603 - docker
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise StepFailed(f"{' '.join(argv[:6])}: {done.returncode}: {' / '.join(said)}")
    return done.stdout.strip()


def documented(heading: str, directory: str, **replaced: str) -> str:
    """Run the block of commands under a heading of docs/deploying.md as it stands; return what it printed.

    Args:
        heading: Of the section; its first block of `sh` is run, and ends at its first command that fails.
        directory: What `$backup` is, where the block names it.
        replaced: Environment variables.
    """
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    block = re.search(r"^```sh\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL) if section else None
    holds(block is not None, f"{GUIDE.name} has no commands under {heading!r}")
    variables = [f"{name}={value}" for name, value in {"backup": directory, **replaced}.items()]
    return run("env", *variables, "sh", "-euc", block[1] if block else "")


def containers(*options: str) -> dict[str, dict[str, Any]]:
    """Return what the engine knows of each container of the stack, by the name of its service."""
    ids = run("docker", "compose", "ps", "--quiet", *options).split()
    found = json.loads(run("docker", "inspect", *ids))
    names = {entry["Config"]["Labels"]["com.docker.compose.service"]: entry for entry in found}
    names.pop("own-volumes", None)
    return names


def query(expression: str) -> list[dict[str, Any]]:
    """Return the samples that Prometheus has for an expression now."""
    with urlopen(f"{PROMETHEUS}/api/v1/query?query={quote(expression)}", timeout=10) as answer:  # noqa: S310 - loopback
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


def until(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> float:
    """Wait until a condition holds, and return the seconds that it took.

    Raises:
        StepFailed: It did not within `seconds`.
    """
    begun = time.monotonic()
    while not condition():
        holds(time.monotonic() - begun < seconds, f"not within {seconds:.0f} s: {what}")
        time.sleep(0.5)
    return time.monotonic() - begun


def holds(condition: bool, otherwise: str) -> None:
    """See that something is so.

    Raises:
        StepFailed: It is not.
    """
    if not condition:
        raise StepFailed(otherwise)
