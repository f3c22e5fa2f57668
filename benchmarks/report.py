"""The tables: what a run measured, as Markdown, put between the markers of `docs/performance.md`."""

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.bench import Results, Row, middle, select, values
from benchmarks.figures import Figure, all_figures
from benchmarks.load import quantile
from benchmarks.subjects import SUBJECTS

BUSY = 0.5
"""The load per core above which a run is not to be published."""
_MARKED = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def tables(found: Results) -> dict[str, str]:
    """Every table by the name of its marker."""
    rows = found["rows"]
    made: dict[str, Callable[[Sequence[Row]], str]] = {
        "orders": orders,
        "limits": limits,
        "refusals": refusals,
        "worker": worker,
        "scrape": scrape,
        "growth": growth,
        "overload": overload,
    }
    return {"run": run(found), "figures": figures(rows)} | {name: make(rows) for name, make in made.items()}


def fill(text: str, found: Results) -> str:
    """Replace what stands between the markers of a text."""
    return put(text, tables(found))


def put(text: str, made: Mapping[str, str]) -> str:
    """Put these tables between their markers; what stands between others stays."""

    def replaced(match: re.Match[str]) -> str:
        return f"{match[1]}\n{made[match[2]]}\n\n{match[3]}" if match[2] in made else match[0]

    return _MARKED.sub(replaced, text)


def write(page: Path, found: Results) -> None:
    """Put the tables into a page."""
    page.write_text(fill(page.read_text(), found))


def run(found: Results) -> str:
    """When, how and on what it was measured."""
    of_load = middle(select(found["rows"], part="orders"), "load_cpu_us")
    where, packages = described(found["machine"])
    command = "make bench" if found["mode"] == "full" else "make bench QUICK=1"
    preliminary = " **Preliminary: the machine was busy.**" if found["busy_before"] > BUSY else ""
    return (
        f"Measured by `{command}`, {found['taken']}, on {where}; load of the machine for each core before it began: "
        f"{found['busy_before']}.{preliminary}\n"
        f"The load took {of_load:.0f} us of CPU per request on its own core.\n{packages}."
    )


def described(machine: Mapping[str, str]) -> tuple[str, str]:
    """Return what the machine is, and what was installed."""
    left = dict(machine)
    where = f"{left.pop('cpu')}, {left.pop('cores')} cores, Linux {left.pop('kernel')}"
    return where, ", ".join(f"{name} {version}" for name, version in left.items())


def figures(rows: Sequence[Row]) -> str:
    """Report what is to be reached, and what is."""
    return reached(all_figures(rows))


def reached(found: Iterable[Figure]) -> str:
    """Return a table of figures."""
    lines = []
    for figure in found:
        verdict = "" if math.isnan(figure.middle) else "yes" if figure.reached else "no"
        goal = f"{'at least' if figure.sense == '>=' else 'at most'} {figure.reach:g}{figure.unit}"
        lines.append((figure.what, _spread(figure), goal, verdict))
    return table(("what", "measured", "reach", "reached"), lines)


def orders(rows: Sequence[Row]) -> str:
    """Every subject that takes orders."""
    mine = select(rows, part="orders")
    baseline = middle(select(mine, subject="baseline"), "cpu_us")
    lines = []
    for subject in SUBJECTS:
        of = select(mine, subject=subject.name)
        if of:
            cpu = middle(of, "cpu_us")
            measured = (spread(of, "cpu_us"), f"{1e6 / cpu:,.0f}", spread(of, "requests_per_second"))
            times = (f"{middle(of, 'p50_ms'):.1f}", f"{middle(of, 'p99_ms'):.1f}")
            used = f"{middle(of, 'cpu_share'):.0%}"
            calls = "-" if subject.kind == "asgi-floor" else f"{middle(of, 'orders_per_call'):.1f}"
            of_store = f"{middle(of, 'store_cpu_us'):.0f}"
            lines.append((subject.title, *measured, used, *times, calls, of_store, f"{baseline / cpu:.2f}"))
    head = (
        "server",
        "CPU us per order",
        "orders/s per core",
        "orders/s measured",
        "core used",
        "p50 ms",
        "p99 ms",
        "orders per call",
    )
    return table((*head, "store CPU us", "against the baseline"), lines)


def limits(rows: Sequence[Row]) -> str:
    """Report on the bare script."""
    mine = select(rows, part="limits")
    lines = [(case, spread(select(mine, case=case), "orders_per_second")) for case in _in_order(mine, "case")]
    return table(("`place`, called by redis-benchmark over 64 connections", "orders/s"), lines)


def refusals(rows: Sequence[Row]) -> str:
    """Report on accepted orders and refusals."""
    mine = select(rows, part="refusals")
    lines = []
    for name in _in_order(mine, "subject"):
        for case in _in_order(mine, "case"):
            of = select(mine, subject=name, case=case)
            lines.append(
                (name, case, spread(of, "cpu_us"), spread(of, "requests_per_second"), f"{middle(of, 'p99_ms'):.1f}")
            )
    return table(("server", "answers", "CPU us per answer", "answers/s", "p99 ms"), lines)


def worker(rows: Sequence[Row]) -> str:
    """Report on the order worker."""
    mine = select(rows, part="worker")
    lines = []
    for case in _in_order(mine, "case"):
        of = select(mine, case=case)
        lines.append((case, spread(of, "orders_per_second"), spread(of, "cpu_us")))
    return table(("telemetry", "orders settled/s", "CPU us per order"), lines)


def scrape(rows: Sequence[Row]) -> str:
    """`GET /metrics`."""
    mine = select(rows, part="scrape")
    lines = []
    for case in _in_order(mine, "case"):
        cpu = middle(select(mine, case=case, format="both"), "fleet_cpu_ms")
        of_fleet = f"{cpu:.0f}" if case == "idle" else "-"
        for name in ("text", "openmetrics"):
            of = select(mine, case=case, format=name)
            ms = values(of, "ms")
            kib = f"{middle(of, 'bytes') / 1024:,.0f}"
            lines.append(
                (
                    case,
                    name,
                    f"{statistics.median(ms):.1f}",
                    f"{quantile(ms, 0.99):.1f}",
                    f"{max(ms):.1f}",
                    kib,
                    of_fleet,
                )
            )
    return table(("meanwhile", "format", "p50 ms", "p99 ms", "highest", "KiB", "CPU ms of the fleet per scrape"), lines)


def growth(rows: Sequence[Row]) -> str:
    """Report on what size costs."""
    mine = select(rows, part="growth")
    lines = []
    for axis in _in_order(mine, "axis"):
        for size in sorted({float(row["size"]) for row in select(mine, axis=axis)}):
            of = select(mine, axis=axis, size=size)
            names = ("p99_ms", "scrape_ms", "api_megabytes", "store_megabytes")
            plain = [f"{middle(of, name):.1f}" for name in names]
            lines.append((f"{axis}: {size:,.0f}", spread(of, "requests_per_second"), spread(of, "cpu_us"), *plain))
    head = ("size", "orders/s", "CPU us per order", "p99 ms", "scrape ms", "API process MiB", "store MiB")
    return table(head, lines)


def overload(rows: Sequence[Row]) -> str:
    """More orders than the worker can settle."""
    names = ("offered_per_second", "accepted_per_second", "confirmed_per_second", "overloaded_per_second")
    waits = ("settled_p50_seconds", "settled_p99_seconds", "eta_error_p50_seconds")
    lines = []
    for row in select(rows, part="overload"):
        rates = [f"{float(row[name]):,.0f}" for name in names]
        seconds = [f"{float(row[name]):.2f}" for name in waits]
        lines.append((f"{float(row['factor']):g}x", *rates, *seconds, f"{float(row['answer_p99_ms']):.1f}"))
    head = (
        "load",
        "offered/s",
        "accepted/s",
        "confirmed/s",
        "503/s",
        "settled after s, p50",
        "p99",
        "ETA off by s, p50",
    )
    return table((*head, "answer p99 ms"), lines)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, or a line that says that there is nothing to show."""
    lines = list(lines)
    if not lines:
        return "Not measured in this run."
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines))


def spread(rows: Sequence[Row], name: str) -> str:
    """Return the median, and the lowest and highest."""
    return _between(values(rows, name))


def _spread(figure: Figure) -> str:
    return _between(figure.measured, figure.unit)


def _between(found: Sequence[float], unit: str = "") -> str:
    if not found:
        return "-"
    middle = statistics.median(found)
    places = 0 if abs(middle) >= 100 else 1 if abs(middle) >= 10 else 2  # noqa: PLR2004 - three figures count
    text = f"**{middle:,.{places}f}{unit}**"
    return text if len(found) == 1 else f"{text} ({min(found):,.{places}f} to {max(found):,.{places}f})"


def _in_order(rows: Sequence[Row], name: str) -> list[str]:
    return list(dict.fromkeys(str(row[name]) for row in rows))
