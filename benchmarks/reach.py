"""The figures to reach, all measured side by side: `python -m benchmarks figures`, one round of it.

Who is compared takes turns within the round, so that a ratio is of what ran within a minute of each other. What is
compared with how it was before needs the checkout that has it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import machine, rounds, steps, worker
from benchmarks.bench import Bench, Results, Row, select, values
from benchmarks.figures import Figure, by_round, ratio
from benchmarks.load import Shape
from benchmarks.order_steps import STEPS
from benchmarks.program import ROOT, python
from benchmarks.report import described, reached, spread, table
from benchmarks.subjects import STOCK, Subject, subject

SATURATION = 0
RATES = (SATURATION, 100, 500, 2000, 8000)
"""Orders per second of the open loop; 0: a closed loop over 64 connections, as quickly as they are answered."""
AT_ALL_RATES = ("ours-lean-all", "ours-native-all", "ours-contrib-all", "baseline", "go", "go-one-percent")
AT_SATURATION = ("ours-off", "ours-lean-every-trace", "go-every-trace", "asgi-floor")
LEAN, BASELINE, GO = "ours-lean-all", "baseline", "go-one-percent"
LEFT = 10
FEWEST_ORDERS = 1_000
"""In a slice at a low rate: CPU is accounted for in ticks of 10 ms."""
MAX_SLICE_SECONDS = 4.0
QUEUE = 12_000
STEP_ORDERS = 6_400
BATCHES = (64, 1)
FLEET = 16
FLEET_SECONDS = 300.0


def measure(bench: Bench, parts: Sequence[str], before: Path | None, number: int) -> Iterator[Row]:
    """Measure one round of some parts."""
    for part in parts:
        begun = time.monotonic()
        for row in PARTS[part](bench, before):
            yield {**row, "part": part, "round": number, "load": machine.busy_share()}
        sys.stderr.write(f"{part}: {time.monotonic() - begun:.0f} s\n")


def _rates(bench: Bench, _: Path | None) -> Iterator[Row]:
    for rate in RATES:
        for name in AT_ALL_RATES if rate else (*AT_ALL_RATES, *AT_SATURATION):
            who = subject(name)
            if who.missing:
                sys.stderr.write(f"{who.title} is left out: {who.missing}\n")
            else:
                yield _at(bench, who, rate)


def _at(bench: Bench, who: Subject, rate: int) -> Row:
    seconds = bench.scale.seconds
    if rate:
        seconds = max(seconds, min(FEWEST_ORDERS / rate, MAX_SLICE_SECONDS))
    shape = Shape(warm=bench.scale.warm, seconds=seconds, rate=rate or None)
    # Whoever cannot keep the rate falls behind, and is then measured at saturation: `requests_per_second` tells.
    return rounds.measure(who, bench.store, bench.receiver, rounds.Slice(shape=shape)).row("rates", rate=rate)


def _refusals(bench: Bench, _: Path | None) -> Iterator[Row]:
    what = rounds.Slice(
        shape=Shape(warm=max(bench.scale.warm, 1.2), seconds=bench.scale.seconds),
        stock=LEFT,
        statuses=frozenset((rounds.ACCEPTED, rounds.REFUSED)),
        after=rounds.until_refusals_are_told,
    )
    yield rounds.measure(subject(LEAN), bench.store, bench.receiver, what).row("refusals")
    plain = rounds.Slice(shape=Shape(warm=bench.scale.warm, seconds=bench.scale.seconds), stock=STOCK)
    yield rounds.measure(subject("asgi-floor"), bench.store, bench.receiver, plain).row("refusals")


def _worker(bench: Bench, before: Path | None) -> Iterator[Row]:
    for version, checkout in _versions(before):
        yield worker.measure(bench, version, {}, checkout)


def _store(bench: Bench, before: Path | None) -> Iterator[Row]:
    for batch in BATCHES:
        for version, checkout in _versions(before):
            what = steps.What(orders=STEP_ORDERS, batch=batch)
            yield {"case": version, "batch": batch, **steps.costs(checkout, bench.store.url, what)}


def _fleet(_: Bench, __: Path | None) -> Iterator[Row]:
    with machine.on(machine.server_cores() | machine.other_cores()):
        ran = subprocess.run(  # noqa: S603 - programs of this repository
            python("-m", "tests.fundamentals.fleet_start", str(FLEET), "--json"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            timeout=FLEET_SECONDS,
            check=True,
        )
    yield json.loads(ran.stdout)


PARTS: dict[str, Callable[[Bench, Path | None], Iterator[Row]]] = {
    "rates": _rates,
    "refused": _refusals,
    "settling": _worker,
    "steps": _store,
    "fleet": _fleet,
}


def _versions(before: Path | None) -> list[tuple[str, Path]]:
    return [*([("before", before)] if before else []), ("now", ROOT)]


def all_figures(rows: Sequence[Row]) -> list[Figure]:
    """Every figure of the table, in its order."""
    return [*_of_orders(rows), *_of_versions(rows), *_of_a_fleet(rows)]


def _of_orders(rows: Sequence[Row]) -> Iterator[Figure]:
    def cpu(rate: int, mine: str, other: str) -> list[float]:
        of = select(rows, part="rates", rate=rate)
        return by_round(of, "cpu_us", ratio, {"subject": mine}, {"subject": other})

    what = "CPU of an order, `lean`, everything on, against Go + OpenTelemetry at 1 %"
    yield Figure(what=what, measured=cpu(SATURATION, LEAN, GO), sense="<=", reach=0.9, unit="x")
    for rate, reach in ((SATURATION, 4), (2000, 2), (500, 1.3)):
        what = f"orders per CPU, `lean`, everything on, against the naive baseline with nothing on, {at(rate)}"
        yield Figure(what=what, measured=cpu(rate, BASELINE, LEAN), sense=">=", reach=reach, unit="x")
    what = "... `contrib` on every request, at saturation"
    yield Figure(what=what, measured=cpu(SATURATION, BASELINE, "ours-contrib-all"), sense=">=", reach=1.8, unit="x")
    what = "CPU of an order, each trace recorded, against Go + OpenTelemetry with each trace"
    measured = cpu(SATURATION, "ours-lean-every-trace", "go-every-trace")
    yield Figure(what=what, measured=measured, sense="<=", reach=1.6, unit="x")
    refused = by_round(select(rows, part="refused"), "cpu_us", ratio, {"subject": LEAN}, {"subject": "asgi-floor"})
    what = "CPU of a refusal when sold out, against a bare answer of uvicorn"
    yield Figure(what=what, measured=refused, sense="<=", reach=1.6, unit="x")


def _of_versions(rows: Sequence[Row]) -> Iterator[Figure]:
    def against(of: Sequence[Row], name: str) -> list[float]:
        return by_round(of, name, ratio, {"case": "now"}, {"case": "before"})

    what = "CPU of a settled order in the worker, with trace context, against the version before"
    measured = against(select(rows, part="settling"), "cpu_us")
    yield Figure(what=what, measured=measured, sense="<=", reach=0.55, unit="x")
    for batch in BATCHES:
        what = f"CPU of the store for a whole order, {batch} a call, against the version before"
        measured = against(select(rows, part="steps", batch=batch), steps.WHOLE)
        yield Figure(what=what, measured=measured, sense="<=", reach=0.6, unit="x")


def _of_a_fleet(rows: Sequence[Row]) -> Iterator[Figure]:
    fleet = select(rows, part="fleet")
    for what, name, reach, unit in (
        ("ready after", "ready_seconds", 2, " s"),
        ("memory of each (PSS)", "pss_mib", 30, " MiB"),
        ("CPU of each at rest", "idle_percent", 0.15, " %"),
        ("store commands a second at rest, of all", "commands_per_second", 30, ""),
    ):
        measured = values(fleet, name)
        yield Figure(what=f"{FLEET} API processes: {what}", measured=measured, sense="<=", reach=reach, unit=unit)


def rates(rows: Sequence[Row]) -> str:
    """Report on all loads: CPU of an order, and what the store's is."""
    mine = select(rows, part="rates")
    lines = []
    for name in dict.fromkeys(str(row["subject"]) for row in mine):
        of = select(mine, subject=name)
        cells = [spread(select(of, rate=rate), "cpu_us") for rate in (*RATES[1:], SATURATION)]
        kept = [spread(select(of, rate=rate), "store_cpu_us") for rate in (500, SATURATION)]
        lines.append((subject(name).title, *cells, *kept))
    loads = [at(rate) for rate in (*RATES[1:], SATURATION)]
    return table(("CPU us per order", *loads, "store, 500/s", "store, saturation"), lines)


def absolute(rows: Sequence[Row]) -> str:
    """Report on what stands behind the ratios to the version before."""
    settling, of_store = select(rows, part="settling"), select(rows, part="steps")
    lines: list[tuple[str, ...]] = []
    for version in dict.fromkeys(str(row["case"]) for row in of_store):
        worked = select(settling, case=version)
        lines.append((f"worker, {version}", "-", "-", "-", spread(worked, "cpu_us")))
        for batch in BATCHES:
            of = select(of_store, case=version, batch=batch)
            lines.append((f"store, {batch} a call, {version}", *(spread(of, step) for step in (*STEPS, steps.WHOLE))))
    return table(("CPU us per order", *STEPS, "whole"), lines)


def at(rate: int) -> str:
    """Name a load."""
    return f"{rate:,}/s" if rate else "saturation"


def tables(found: Results) -> dict[str, str]:
    """Every table of the page by the name of its marker."""
    rows = found["rows"]
    return {
        "reachrun": run(found),
        "reach": reached(all_figures(rows)),
        "rates": rates(rows),
        "versions": absolute(rows),
    }


def run(found: Results) -> str:
    """When, how and on what it was measured."""
    where, packages = described(found["machine"])
    loads = [float(row["load"]) for row in found["rows"]]
    busy = f"{min(loads):.1f} to {max(loads):.1f}" if loads else "unknown"
    return (
        f"Measured by `.venv-bench/bin/python -m benchmarks figures`, {found['taken']}, on {where}; load of the "
        f"machine for each core after each slice, what is measured included: {busy}.\n{packages}."
    )
