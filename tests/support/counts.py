"""What a test has sent, broken and found, counted while it runs, and written into a document as a table.

`make attacks` and `make faults` set `COUNTS` to the document; each table stands between `<!-- counts: NAME -->` and
`<!-- /counts -->`. A test tells what it does by `count`, `longest` and `drawn`; clients, stores and processes of
tests/support do it for themselves. What a test never counted is left empty: 0 says that it was looked for.
"""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.figures import END, as_table, write_counts

BACK = "back, s"
SEEN: Counter[str] = Counter()
"""What the running test has counted; see `Table.counted`."""
LONGEST: dict[str, float] = {}
"""The longest times of the running test, in seconds; `BACK` is from the end of a fault to the next accepted order."""
SEEDS: list[int] = []
"""The seeds of the running test."""
PLACED: set[str] = set()
"""The orders that clients of the running test were told of."""
_SINCE: dict[str, float] = {}
"""When the last fault of the running test ended, until an order is accepted after it."""
PUT_DOWN = "PUT_DOWN"
"""The variable that names the document into which a run of chaos or signals writes its line."""
_CARRIED = "counts"


def count(what: str, number: int = 1) -> None:
    """Add to a figure of the running test."""
    SEEN[what] += number


def injected(number: int = 1, *, lasts: bool = False) -> None:
    """Count a fault; one that `lasts` is over when `mended` is called, another at once: a process is killed, say."""
    count("injected", number)
    if lasts:
        _SINCE.clear()
    else:
        mended()


def mended() -> None:
    """Note that a fault is over; from here on the time to the next accepted order counts."""
    if SEEN["injected"]:
        _SINCE["over"] = time.perf_counter()


def sold(number: int = 1) -> None:
    """Count accepted orders."""
    count("accepted", number)
    if number and _SINCE:
        longest(BACK, time.perf_counter() - _SINCE.pop("over"))


def compared(orders: Collection[str]) -> None:
    """Hold the orders that there are, when all is at rest, against what clients were told.

    An order is lost that a client was told of. More orders than were accepted or left unsure have doubled. Nothing is
    said where no client of tests/support has ordered.
    """
    if SEEN["sent"]:
        SEEN["lost"] = max(SEEN["lost"], len(PLACED.difference(orders)))
        SEEN["doubled"] = max(SEEN["doubled"], len(orders) - SEEN["accepted"] - SEEN["unsure"])


def longest(what: str, seconds: float) -> None:
    """Note a time of the running test: the longest is told."""
    LONGEST[what] = max(seconds, LONGEST.get(what, 0.0))


def drawn(seed: int) -> None:
    """Note the seed of the running test."""
    SEEDS.append(seed)


@dataclass(frozen=True)
class Table:
    """One table: where it stands, what its rows are called, which figures it has, in the order of its columns."""

    name: str
    row: str
    counted: Sequence[str]
    timed: Sequence[str] = ()


TABLES = {
    "tests/security": Table("attacks", "attack", ("connections", "sent", "2xx", "4xx", "5xx", "beside")),
    "tests/faults": Table("faults", "fault", ("injected", "sent", "accepted", "unsure", "lost", "doubled"), (BACK,)),
}
"""The tables by the directory of the tests."""


@dataclass
class Row:
    """The figures of a test, over all its cases."""

    cases: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    seeds: set[int] = field(default_factory=set)


class Counting:
    """The plugin: it takes the figures of each test in each process, and writes the tables in the first."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Row]] = defaultdict(dict)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Begin with nothing."""
        SEEN.clear()
        LONGEST.clear()
        SEEDS.clear()
        _SINCE.clear()
        PLACED.clear()
        del item
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Give what was counted to the report, which pytest-xdist carries to the process that was started."""
        done = yield
        if SEEN or LONGEST:
            item.user_properties.append((_CARRIED, {"seen": dict(SEEN), "longest": dict(LONGEST), "seeds": SEEDS[:]}))
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the figures of a test."""
        if report.when != "teardown":
            return
        for name, figures in report.user_properties:
            if name == _CARRIED and isinstance(figures, dict):
                self._add(report.nodeid, figures)

    def _add(self, nodeid: str, figures: dict[str, dict[str, float]]) -> None:
        file, _, rest = nodeid.partition("::")
        directory, _, module = file.rpartition("/")
        if directory in TABLES:
            row = self._rows[directory].setdefault(f"{module}::{_name(rest)}", Row())
            row.cases += 1
            for what, number in figures["seen"].items():
                row.seen[what] += int(number)
            for what, seconds in figures["longest"].items():
                row.longest[what] = max(seconds, row.longest.get(what, 0.0))
            row.seeds.update(int(seed) for seed in figures["seeds"])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        """Print the tables, and put them into the document when all tests have passed."""
        for directory, rows in self._rows.items():
            made = written(TABLES[directory], rows)
            terminalreporter.write_line(made)
            if exitstatus == 0:
                write_counts(Path(os.environ["COUNTS"]), TABLES[directory].name, made)


def _name(test: str) -> str:
    """Return a test without its case, and without the group that pytest-xdist puts behind it."""
    return test.partition("[")[0].partition("@")[0]


def written(table: Table, rows: dict[str, Row]) -> str:
    """Return a table as Markdown, one line for each test that has counted anything."""
    lines: list[Sequence[object]] = []
    for name, row in sorted(rows.items()):
        module, _, test = name.partition("::")
        counts = (row.seen.get(what, "") for what in table.counted)
        times = (f"{row.longest[what]:.1f}" if what in row.longest else "" for what in table.timed)
        seeds = ", ".join(str(seed) for seed in sorted(row.seeds)[:2])
        words = test.removeprefix("test_").replace("_", " ")
        lines.append((words, f"`{module}`", row.cases, *counts, *times, seeds))
    return as_table((table.row, "test", "cases", *table.counted, *table.timed, "seed"), lines, words=2)


def put_line(document: Path, name: str, told: Mapping[str, str]) -> None:
    """Add a line to a table that grows, in the place of one whose first cell is the same."""
    cells = [told[what].replace("|", "/") for what in told]
    _, _, rest = document.read_text().partition(f"<!-- counts: {name} -->\n")
    lines = [line for line in rest.partition(END)[0].splitlines() if line.startswith("|")][2:]
    kept = [line.strip("| ").split(" | ") for line in lines if not line.startswith(f"| {cells[0]} |")]
    write_counts(document, name, as_table(list(told), [*kept, cells], words=len(told)))
