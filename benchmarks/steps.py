"""What an order costs the store, step by step, in two checkouts in turn: `python -m benchmarks steps OTHER`.

A B A B, on one server that is emptied each time; medians. It is the store's CPU that counts, so that a busy machine
blurs it little. Only the service is taken from the other checkout: see `order_steps.py`.
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.order_steps import STEPS
from benchmarks.program import ROOT, python
from benchmarks.store import open_store

WHOLE = "whole order"
MAX_SECONDS = 300.0
FEWER = 4
"""Orders that come one by one take longer: so many times fewer of them are as exact."""

Costs = dict[str, float]
"""us of store CPU per order, by step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class What:
    """What is measured: orders in each turn, how many share a call; with idempotency keys; a limit per user, if any."""

    orders: int
    batch: int
    keyed: bool = False
    limit: int | None = None

    def arguments(self, url: str) -> list[str]:
        """As `order_steps.py` takes it."""
        orders = self.orders // FEWER if self.batch == 1 else self.orders
        found = [url, str(orders), str(self.batch)]
        return found + ["--keyed"] * self.keyed + (["--limit", str(self.limit)] if self.limit else [])


def costs(checkout: Path, url: str, what: What) -> Costs:
    """Measure one checkout once.

    Raises:
        subprocess.CalledProcessError: It failed; what it said is on stderr.
    """
    with machine.on(machine.server_cores()):
        ran = subprocess.run(  # noqa: S603 - programs of this repository
            python("-P", str(ROOT / "benchmarks/order_steps.py"), *what.arguments(url)),
            env={**os.environ, "PYTHONPATH": str(checkout)},
            cwd=checkout,
            stdout=subprocess.PIPE,
            timeout=MAX_SECONDS,
            check=True,
        )
    found: Costs = json.loads(ran.stdout)
    return {**found, WHOLE: sum(found.values())}


def compare(other: Path, what: What, *, rounds: int, server: str | None = None) -> str:
    """Measure another checkout (A) and this one (B) in turn; return a table."""
    taken: dict[str, list[Costs]] = {"A": [], "B": []}
    with open_store(server) as store:
        for _ in range(rounds):
            for name, checkout in (("A", other), ("B", ROOT)):
                taken[name].append(costs(checkout, store.url, what))
        keyed, limit = "with keys" if what.keyed else "no keys", what.limit or "none"
        head = f"{store.server}, {what.batch} orders a call, {keyed}, limit {limit}, {rounds} rounds"
    rows = [head, f"{'us of store CPU per order':26}{'A':>8}{'B':>8}{'B / A':>8}  A min-max, B min-max"]
    for step in (*STEPS, WHOLE):
        a, b = ([row[step] for row in taken[name]] for name in taken)
        before, now = statistics.median(a), statistics.median(b)
        span = f"{min(a):.1f}-{max(a):.1f}, {min(b):.1f}-{max(b):.1f}"
        rows.append(f"{step:26}{before:8.1f}{now:8.1f}{now / before:8.2f}  {span}")
    return "\n".join(rows)


def run(other: Path, found: list[What], *, rounds: int, server: str | None) -> None:
    """Compare and print, one table after the other."""
    for what in found:
        sys.stdout.write(compare(other.resolve(), what, rounds=rounds, server=server) + "\n\n")
        sys.stdout.flush()
