"""`python -m benchmarks`: `all` measures everything, `quick` some subjects, `steps` the store, `figures` the goals."""

import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import (
    growth,
    limits,
    machine,
    overload,
    plots,
    reach,
    refusals,
    report,
    rounds,
    scrape,
    sidebyside,
    steps,
    worker,
)
from benchmarks.bench import FULL, QUICK, Bench, Row, prepared, read, results, write
from benchmarks.load import Shape
from benchmarks.program import ROOT
from benchmarks.subjects import SUBJECTS, subject

PAGE = ROOT / "docs/performance.md"
PICTURES = ROOT / "docs/pictures"
RESULTS = ROOT / "docs/performance.json"
FIGURES = ROOT / "docs/figures.json"
QUICK_RESULTS = ROOT / "build/performance-quick.json"
ALIASES = {"ours": ("ours-off", "ours-lean-all", "ours-native-all", "ours-contrib-all"), "baseline": ("baseline",)}
PARTS: dict[str, Callable[[Bench], Iterable[Row]]] = {
    "orders": sidebyside.run,
    "limits": limits.run,
    "refusals": refusals.run,
    "worker": worker.run,
    "scrape": scrape.run,
    "growth": growth.run,
    "overload": overload.run,
}

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def group() -> None:
    """Measure what the service costs, side by side with its peers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started is ended


@app.command("all")
def everything(
    quick_mode: Annotated[bool, typer.Option("--quick", help="rough figures in three minutes; docs/ stays")] = False,
    parts: Annotated[str, typer.Option(help="only these parts, comma-separated; the others keep their figures")] = "",
) -> None:
    """Measure everything, then write docs/performance.json, the tables of docs/performance.md and the plots."""
    wanted = parts.split(",") if parts else list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(PARTS)}")
    busy, path = machine.busy_share(), QUICK_RESULTS if quick_mode else RESULTS
    rows: list[Row] = []
    failed = False
    with prepared(QUICK if quick_mode else FULL) as bench:
        for name in wanted:
            begun = time.monotonic()
            try:
                for row in PARTS[name](bench):
                    rows.append(row)  # noqa: PERF402 - what came before a failure stays
            except Exception:  # noqa: BLE001 - what the other parts measure in ten minutes must not be lost
                traceback.print_exc()
                failed = True
            sys.stderr.write(f"{name}: {time.monotonic() - begun:.0f} s\n")
    found = results("quick" if quick_mode else "full", rows, busy)
    if parts and path.exists():
        found["rows"] = [row for row in read(path)["rows"] if _part(row) not in wanted] + rows
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, found)
    for title, table in report.tables(found).items():
        sys.stdout.write(f"\n{title}\n\n{table}\n")
    if not quick_mode:
        render()
    raise typer.Exit(1 if failed else 0)


def _part(row: Row) -> str:
    return "growth" if row["part"] == "memory" else str(row["part"])


@app.command()
def render() -> None:
    """Write the tables of docs/performance.md and the plots from docs/performance.json, without measuring."""
    found = read(RESULTS)
    report.write(PAGE, found)
    plots.draw(found["rows"], PICTURES)


@app.command("figures")
def figures_to_reach(
    before: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="a checkout of the version to compare with")
    ] = None,
    rounds: Annotated[int, typer.Option(help="rounds to add to those of the results file")] = 1,
    parts: Annotated[str, typer.Option(help="only these parts, comma-separated")] = ",".join(reach.PARTS),
    seconds: Annotated[float, typer.Option(help="measured in each slice, at least")] = 1.5,
    fresh: Annotated[bool, typer.Option("--fresh", help="forget the rounds before")] = False,
) -> None:
    """Measure the figures to reach side by side; write docs/figures.json and the tables of docs/performance.md."""
    wanted = parts.split(",")
    if unknown := [name for name in wanted if name not in reach.PARTS]:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(reach.PARTS)}")
    busy = machine.busy_share()
    rows = read(FIGURES)["rows"] if FIGURES.exists() and not fresh else []
    with prepared(replace(FULL, seconds=seconds, queue=reach.QUEUE)) as bench:
        for _ in range(rounds):
            number = 1 + max((int(row["round"]) for row in rows if row["part"] in wanted), default=-1)
            for row in reach.measure(bench, wanted, before, number):
                rows.append(row)
                write(FIGURES, results("figures", rows, busy))
    write_figures()


@app.command()
def write_figures() -> None:
    """Write the tables of the figures to reach into docs/performance.md, without measuring."""
    found = read(FIGURES)
    PAGE.write_text(report.put(PAGE.read_text(), reach.tables(found)))


@app.command()
def quick(
    only: Annotated[
        str, typer.Option(help="names, comma-separated; `ours` and `baseline` stand for the main ones")
    ] = "ours,baseline",
    repeat: Annotated[int, typer.Option(help="rounds")] = 3,
    seconds: Annotated[float, typer.Option(help="measured in each round")] = 1.5,
) -> None:
    """Measure some subjects side by side and print them; nothing is written."""
    wanted = [name for word in only.split(",") for name in ALIASES.get(word, (word,))]
    known = [known.name for known in SUBJECTS]
    if unknown := [name for name in wanted if name not in known]:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join([*ALIASES, *known])}")
    samples: dict[str, list[rounds.Sample]] = {name: [] for name in wanted}
    what = rounds.Slice(shape=Shape(seconds=seconds))
    with prepared(QUICK) as bench:
        for _ in range(repeat):
            for name in wanted:
                samples[name].append(rounds.measure(subject(name), bench.store, bench.receiver, what))
    _print(samples)


@app.command("steps")
def order_steps(
    other: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="another checkout, A; this one is B")],
    batch: Annotated[str, typer.Option(help="orders in one call of the store; several, comma-separated")] = "64,1",
    orders: Annotated[int, typer.Option(help="in each round; a quarter of it where they come one by one")] = 6400,
    repeat: Annotated[int, typer.Option(help="rounds")] = 5,
    keyed: Annotated[bool, typer.Option("--keyed", help="each order has an idempotency key")] = False,
    limit: Annotated[int | None, typer.Option(help="units per user")] = None,
    server: Annotated[str | None, typer.Option(help="another store: redis-server or valkey-server")] = None,
) -> None:
    """Compare what place, begin and settle cost the store in two checkouts; nothing is written."""
    found = [steps.What(orders=orders, batch=int(size), keyed=keyed, limit=limit) for size in batch.split(",")]
    steps.run(other, found, rounds=repeat, server=server)


def _print(samples: dict[str, list[rounds.Sample]]) -> None:
    baseline = statistics.median(s.cpu_us for s in samples["baseline"]) if "baseline" in samples else None
    head = f"{'':24} {'CPU us':>7} {'min-max':>11} {'req/s':>7} {'p99 ms':>7} {'orders/call':>11} {'vs baseline':>8}"
    sys.stdout.write(f"{head}\n")
    for name, taken in samples.items():
        cpu = [s.cpu_us for s in taken]
        middle = statistics.median(cpu)
        rate, p99 = (
            statistics.median(of) for of in zip(*((s.requests_per_second, s.p99_ms) for s in taken), strict=True)
        )
        shared = statistics.median(s.orders_per_call for s in taken)
        against = f"{baseline / middle:.2f}" if baseline else ""
        figures = f"{middle:7.1f} {min(cpu):5.0f}-{max(cpu):<5.0f} {rate:7.0f} {p99:7.1f} {shared:11.1f} {against:>8}"
        sys.stdout.write(f"{name:24} {figures}\n")


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
