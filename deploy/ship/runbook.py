"""The runbook's commands, each run in the place that it names."""

import re
import shlex
from typing import Final

from deploy.ship.commands import holds, run
from deploy.stack.compose import ROOT

DOCUMENT: Final = ROOT / "docs" / "runbook.md"
PLACES: Final = {
    "docker compose": ("docker", "compose"),
    "flash-sale": ("docker", "compose", "run", "--rm", "--no-deps", "-T", "worker"),
    "redis-cli": ("docker", "compose", "exec", "-T", "redis", "valkey-cli", "-e"),
}
"""What a command begins with, and how the runbook's introduction says that it is run under compose."""
NOT_RUN: Final = {
    "flash-sale audit --against bank": "needs a gateway that can be asked",
    "flash-sale dead-letters requeue": "needs a dead letter",
    "flash-sale dead-letters drop": "needs a dead letter",
    "flash-sale run": "is no command of a container",
    "redis-cli --latency": "does not end",
    "redis-cli CONFIG SET maxmemory 512mb": "is more than the container has",
}
NUMBER_OF_A_SHARD: Final = "NN"


def run_all() -> str:
    """Run them and return how many there were.

    Raises:
        StepFailed: One failed, or one that is not run is no longer in the runbook.
    """
    text = " ".join(DOCUMENT.read_text().split())
    spans = set(re.findall(rf"`((?:{'|'.join(PLACES)}) [^`]+)`", text))
    holds(spans >= NOT_RUN.keys(), f"not in the runbook: {', '.join(NOT_RUN.keys() - spans)}")
    wanted = sorted(span for span in spans - NOT_RUN.keys() if NUMBER_OF_A_SHARD not in span)
    for span in wanted:
        program = next(program for program in PLACES if span.startswith(program))
        run(*PLACES[program], *shlex.split(span.removeprefix(program)))
    return f"{len(wanted)} commands as they stand; {len(spans) - len(wanted)} not run, which need what is not there"
