"""The figures to reach, each computed from the rows of one run and held against what was set."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.bench import Row, middle, select, values
from benchmarks.load import quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure: what it is, its values by round, and what is to be reached."""

    what: str
    measured: Sequence[float]
    sense: Literal[">=", "<="]
    reach: float
    unit: str = ""

    @property
    def middle(self) -> float:
        """The median; not a number when nothing was measured."""
        return statistics.median(self.measured) if self.measured else math.nan

    @property
    def reached(self) -> bool:
        """Whether the median is good enough."""
        return self.middle >= self.reach if self.sense == ">=" else self.middle <= self.reach


Of = Callable[[Sequence[float]], float]


def by_round(rows: Sequence[Row], name: str, of: Of, *cases: Row) -> list[float]:
    """Combine one figure of several cases, round by round: what was measured side by side is compared side by side."""
    found = []
    for number in sorted({float(row["round"]) for row in rows if "round" in row}):
        figures = [values(select(rows, round=number, **case), name) for case in cases]
        if all(figures):
            found.append(of([statistics.median(figure) for figure in figures]))
    return found


def ratio(figures: Sequence[float]) -> float:
    """Return the first figure as a multiple of the second."""
    return figures[0] / figures[1] if figures[1] else math.nan


def _share(figures: Sequence[float]) -> float:
    return (figures[0] - figures[1]) / figures[2] if figures[2] else math.nan


def all_figures(rows: Sequence[Row]) -> list[Figure]:
    """Every figure of the table, in its order."""
    return [*_against_twin(rows), *_of_the_service(rows), *_of_growth(rows)]


def _against_twin(rows: Sequence[Row]) -> list[Figure]:
    orders = select(rows, part="orders")

    def cpu(of: Of, *names: str) -> list[float]:
        cases: list[Row] = [{"subject": name} for name in names]
        return by_round(orders, "cpu_us", of, *cases)

    found = []
    for interceptor, reach in (("lean", 1.5), ("native", 1.5), ("contrib", 1.1)):
        what = f"orders per second per core, everything on, {interceptor}, against the naive baseline with nothing on"
        measured = cpu(ratio, "baseline", f"ours-{interceptor}-all")
        found.append(Figure(what=what, measured=measured, sense=">=", reach=reach, unit="x"))
    for interceptor in ("lean", "native", "contrib"):
        what = f"... {interceptor}, against the baseline with `opentelemetry-instrument` defaults"
        measured = cpu(ratio, "baseline-otel", f"ours-{interceptor}-all")
        found.append(Figure(what=what, measured=measured, sense=">=", reach=5, unit="x"))
    for interceptor, reach in (("lean", 0.25), ("native", 0.25), ("contrib", 0.5)):
        what = f"CPU that telemetry adds to an order, {interceptor}, as a share of the naive baseline's CPU per order"
        measured = cpu(_share, f"ours-{interceptor}-all", "ours-off", "baseline")
        found.append(Figure(what=what, measured=measured, sense="<=", reach=reach))
    return found


def _of_the_service(rows: Sequence[Row]) -> list[Figure]:
    refusals, scrapes = select(rows, part="refusals"), select(rows, part="scrape")
    found = []
    for interceptor in ("lean", "native", "contrib"):
        mine = select(refusals, subject=f"ours-{interceptor}-all")
        measured = by_round(mine, "cpu_us", ratio, {"case": "accepted"}, {"case": "sold-out"})
        what = f"refusals per second per core when sold out, {interceptor}, against accepted orders"
        found.append(Figure(what=what, measured=measured, sense=">=", reach=2, unit="x"))
    shared = values(select(rows, part="orders", subject="ours-lean-all"), "orders_per_call")
    found.append(Figure(what="orders per store round trip at 64 connections", measured=shared, sense=">=", reach=8))
    settled = values(select(rows, part="worker", case="everything"), "orders_per_second")
    what = "orders settled per second by one order worker, payment that takes no time, everything on"
    found.append(Figure(what=what, measured=settled, sense=">=", reach=6000, unit="/s"))
    for case in dict.fromkeys(str(row["case"]) for row in scrapes):
        p99 = [quantile(values(select(scrapes, case=case), "ms"), 0.99)]
        what = f"`GET /metrics`, 4 API processes, {scrapes[0]['products']:.0f} products, {case}: p99"
        found.append(Figure(what=what, measured=p99, sense="<=", reach=50, unit=" ms"))
    return found


def _of_growth(rows: Sequence[Row]) -> list[Figure]:
    found = []
    growth = select(rows, part="growth", axis="orders stored")
    if growth:
        small, large = (end(float(row["size"]) for row in growth) for end in (min, max))
        measured = by_round(growth, "requests_per_second", ratio, {"size": large}, {"size": small})
        what = f"orders per second at {large:,.0f} stored orders / at {small:,.0f}"
        found.append(Figure(what=what, measured=measured, sense=">=", reach=0.95))
    memory = select(rows, part="memory")
    for server in sorted({str(row["server"]) for row in memory}):
        most = max(values(select(memory, server=server), "orders"))
        measured = values(select(memory, server=server, orders=most), "bytes_per_order")
        what = f"store memory per settled order, {server}, {most:,.0f} orders"
        found.append(Figure(what=what, measured=measured, sense="<=", reach=400, unit=" B"))
    overload = select(rows, part="overload")
    if overload:
        best = max(values(overload, "confirmed_per_second"))
        measured = [middle(select(overload, factor=3.0), "confirmed_per_second") / best]
        what = "orders confirmed per second at 3 times what the worker can settle, against the best"
        found.append(Figure(what=what, measured=measured, sense=">=", reach=0.9))
    return found
