"""What every part of the benchmark is given, and the rows that it gives back."""

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias, TypedDict

from benchmarks import machine, rounds
from benchmarks.store import Store, open_store

Row: TypeAlias = dict[str, str | float]
"""One measured slice: `part`, what was measured, and figures whose names carry their units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured: rounds of the main comparison, of its variants and of the others; seconds of each slice."""

    rounds: int = 5
    few: int = 3
    variant_rounds: int = 3
    seconds: float = 1.2
    warm: float = 0.7
    stored: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    products: tuple[int, ...] = (1, 100, 1_000)
    queue: int = 40_000
    scrapes: int = 100
    overload: tuple[float, ...] = (0.9, 1.5, 3.0)
    overload_seconds: float = 10.0


FULL = Scale()
QUICK = Scale(
    rounds=2,
    few=1,
    variant_rounds=0,
    seconds=0.8,
    warm=0.5,
    stored=(1_000, 20_000),
    products=(1, 100),
    queue=10_000,
    scrapes=20,
    overload=(0.9, 3.0),
    overload_seconds=4,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """The store and the OTLP receiver, on the load's core, and how much to do."""

    store: Store
    receiver: str
    scale: Scale


class Results(TypedDict):
    """The results file."""

    taken: str
    mode: str
    machine: dict[str, str]
    busy_before: float
    rows: list[Row]


@contextmanager
def prepared(scale: Scale) -> Iterator[Bench]:
    """Take the load's core, and run a store and a receiver on it while the block lasts."""
    with ExitStack() as stack:
        stack.enter_context(machine.on(machine.other_cores()))
        store = stack.enter_context(open_store())
        yield Bench(store, stack.enter_context(rounds.receiving()), scale)


def measure_part(run: Callable[[Bench], list[Row]], tables: Callable[[list[Row]], str], *, quick: bool) -> None:
    """Measure a part by itself, and print its tables."""
    busy = machine.busy_share()
    with prepared(QUICK if quick else FULL) as bench:
        rows = run(bench)
    sys.stdout.write(f"load of the machine for each core before: {busy:.2f}\n\n{tables(rows)}\n")


def results(mode: str, rows: list[Row], busy_before: float) -> Results:
    """Return what is written to the results file."""
    return Results(
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
        mode=mode,
        machine=machine.facts(),
        busy_before=round(busy_before, 2),
        rows=rows,
    )


def write(path: Path, found: Results) -> None:
    """Write the results, one row a line."""
    rows = ",\n".join(json.dumps({name: _short(value) for name, value in row.items()}) for row in found["rows"])
    head = json.dumps({name: value for name, value in found.items() if name != "rows"}, indent=1)
    path.write_text(f'{head.removesuffix("}").rstrip()},\n "rows": [\n{rows}\n]}}\n')


def read(path: Path) -> Results:
    """Read what `write` wrote."""
    found: Results = json.loads(path.read_text())
    return found


def select(rows: Iterable[Row], **match: str | float) -> list[Row]:
    """Return the rows that have all of these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in match.items())]


def values(rows: Iterable[Row], name: str) -> list[float]:
    """One figure of each row that has it."""
    return [float(row[name]) for row in rows if name in row]


def middle(rows: Iterable[Row], name: str) -> float:
    """Return the median of one figure, or NaN when no row has it."""
    found = values(rows, name)
    return statistics.median(found) if found else float("nan")


def _short(value: str | float) -> str | float:
    return float(f"{value:.5g}") if isinstance(value, float) else value
