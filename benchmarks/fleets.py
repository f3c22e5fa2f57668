"""What whole fleets cost by the rate of orders: `python -m benchmarks.fleets measure` writes docs/capacity.json.

API processes, one order worker and a store with an append-only file (`appendfsync everysec`) take orders in an open
loop: they come at a rate, whether or not others were answered. Counted are CPU, memory, bytes of the store, of its AOF
and of spans. Rows of the part `costs` are what `flash-sale plan` computes with (`render` writes them to
`service/capacity/costs.json`), rows of the part `check` are what its computations are held against. The parts take
turns, round by round.
"""

import json
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import load, machine, rounds, shop
from benchmarks.bench import FULL, Bench, Results, Row, read, results, select, values, write
from benchmarks.program import ROOT, Program, wait_until
from benchmarks.store import Store, open_store
from benchmarks.subjects import STOCK, subject

RESULTS = ROOT / "docs/capacity.json"
PERFORMANCE = ROOT / "docs/performance.json"
COSTS = ROOT / "service/capacity/costs.json"
NAME = "ours-lean-all"
SPANS = "otel_sdk_exporter_span_exported_total"
REST_SECONDS, SETTLE_SECONDS = 2.0, 60.0
NEARLY, TRIES = 0.95, 3
FULL_SPEED = -1.0
"""A closed loop of all connections."""
ROUNDS = 3
MANY = 9
STORE_ORDER_US = 46.0
"""Place, begin and settle together, 16 orders a call: docs/decisions/ledger-retention.md."""
SECONDS = 8.0
FIGURES = (
    *("api_cores", "worker_cores", "store_cores", "api_mib", "worker_mib", "store_bytes", "aof_bytes"),
    *("spans_per_second", "otlp_bytes_per_second", "api_series", "worker_series", "connections"),
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Case:
    """One fleet under one load; each has one order worker, whose payments take no time.

    Attributes:
        part: `costs` or `check`.
        rate: orders per second, or FULL_SPEED.
        api: API processes behind one port.
        products: how many there are; the orders take turns.
    """

    part: str
    rate: float
    api: int = 1
    products: int = 10


CASES = (
    *(Case("costs", rate) for rate in (0, 250, 600, 1200, FULL_SPEED)),
    *(Case("costs", 0, api=MANY), Case("costs", 0, products=1000)),
    *(Case("check", rate) for rate in (400, 900)),
    *(Case("check", 900, api=2), Case("check", 600, products=100)),
)


@dataclass(frozen=True, slots=True)
class _Fleet:
    """What runs, by what is counted of it."""

    api: Program
    worker: Program
    store: Store
    port: int
    worker_port: int
    receiver: str

    def cpu(self) -> dict[str, float]:
        """Return the CPU time of each so far, and what the clock says."""
        return {
            "seconds": time.perf_counter(),
            "api_cores": self.api.cpu_seconds(),
            "worker_cores": self.worker.cpu_seconds(),
            "store_cores": self.store.program.cpu_seconds(),
        }

    def told(self) -> dict[str, float]:
        """Return what was exported so far, and what the clock says; it takes two scrapes."""
        return {
            "seconds": time.perf_counter(),
            "spans_per_second": sum(_sum(_samples(port), SPANS) for port in (self.port, self.worker_port)),
            "otlp_bytes_per_second": float(_received(self.receiver)),
        }

    def sizes(self) -> dict[str, float]:
        """Return what is as large as it is."""
        return {
            "api_mib": _mib(self.api),
            "worker_mib": _mib(self.worker),
            "api_series": float(len(_samples(self.port))),
            "worker_series": float(len(_samples(self.worker_port))),
            "connections": float(self.store.clients()),
        }


def measure_case(bench: Bench, case: Case, seconds: float) -> Row:
    """Run a fleet for some seconds and return what it took.

    Raises:
        UntrueError: An order that was accepted is not in the ledger, or the audit finds a breach.
    """
    bench.store.flush()
    shop.put_products(bench.store, case.products, STOCK)
    cpu: list[dict[str, float]] = []
    told: list[dict[str, float]] = []
    with _running(bench, case) as fleet:
        before = bench.store.used_bytes(), bench.store.aof_bytes()

        def edge() -> None:
            if not cpu:
                told.append(fleet.told())
            cpu.append(fleet.cpu())
            if len(cpu) > 1:  # what is asked here is no part of what is measured
                told.append(fleet.told())

        accepted, rate = _offer(fleet, case, seconds, edge)
        wait_until(lambda: bench.store.totals().get("confirmed", 0) >= accepted, "all are settled", SETTLE_SECONDS)
        after = bench.store.used_bytes(), bench.store.aof_bytes()
        sizes = fleet.sizes()
    rounds.audit(bench.store)
    rates = _per_second(*cpu) | _per_second(*told)
    grown = [max(now - then, 0) / accepted if accepted else 0.0 for then, now in zip(before, after, strict=True)]
    each = {"store_bytes": grown[0], "aof_bytes": grown[1]}
    of: Row = {"part": case.part, "rate": case.rate, "api": case.api, "products": case.products}
    return of | {"answered_per_second": rate, "accepted": accepted, **rates, **sizes, **each}


def _again(bench: Bench, case: Case, seconds: float) -> Row:
    """Measure a case, anew where others took the time that it needed.

    Raises:
        UntrueError: No try was good.
    """
    for _ in range(TRIES - 1):
        try:
            return measure_case(bench, case, seconds)
        except rounds.UntrueError as error:
            sys.stderr.write(f"again: {error}\n")
    return measure_case(bench, case, seconds)


def _per_second(first: dict[str, float], last: dict[str, float]) -> dict[str, float]:
    seconds = last["seconds"] - first["seconds"]
    return {name: (last[name] - first[name]) / seconds for name in first if name != "seconds"}


def _offer(fleet: _Fleet, case: Case, seconds: float, edge: Callable[[], None]) -> tuple[int, float]:
    """Send the orders; return how many were accepted in all, and how many a second while it was measured."""
    if not case.rate:
        time.sleep(REST_SECONDS)
        edge()
        time.sleep(seconds)
        edge()
        return 0, 0.0
    rate = None if case.rate == FULL_SPEED else case.rate
    shape = load.Shape(connections=256, warm=REST_SECONDS, seconds=seconds, rate=rate)
    got = load.drive(fleet.port, load.orders(case.products), shape, edge)
    if got.lost or set(got.every) != {rounds.ACCEPTED}:
        raise rounds.UntrueError(f"{case}: {dict(got.every)}, {got.lost} connections lost")
    if rate and got.per_second() < NEARLY * rate:
        raise rounds.UntrueError(f"{case}: only {got.per_second():.0f} a second were answered")
    return got.every[rounds.ACCEPTED], got.per_second()


@contextmanager
def _running(bench: Bench, case: Case) -> Iterator[_Fleet]:
    ours = subject(NAME, WORKERS=str(case.api))
    env = {"ORDER_WORKERS": "1", "PAYMENT_LATENCY_SECONDS": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": bench.receiver}
    env["TELEMETRY_INTERCEPTOR"] = ours.env["TELEMETRY_INTERCEPTOR"]
    with ExitStack() as stack:
        api, port = stack.enter_context(rounds.serving(ours, bench.store, bench.receiver))
        worker, worker_port = stack.enter_context(rounds.working(bench.store, env, machine.server_cores()))
        yield _Fleet(api, worker, bench.store, port, worker_port, bench.receiver)


def _samples(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return [line for line in reply.read().decode().splitlines() if line and not line.startswith("#")]


def _sum(samples: Iterable[str], name: str) -> float:
    return sum(float(line.rpartition("}")[2].split()[0]) for line in samples if line.startswith(name + "{"))


def _received(receiver: str) -> int:
    with urllib.request.urlopen(f"{receiver}/counts", timeout=10) as reply:  # noqa: S310 - our own, on loopback
        return sum(count for name, count in json.load(reply).items() if name.endswith("_bytes"))


def _mib(program: Program) -> float:
    """Return the memory that is a program's alone, what its processes share counted once."""
    pss = 0
    for pid in machine.tree(program.pid):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        pss += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return pss / 1024


def costs(found: Results, others: Results) -> dict[str, object]:
    """Return what `flash-sale plan` computes with: medians of the rows of the part `costs`, and when, on what.

    Args:
        found: what was measured here.
        others: the results of the benchmark, for what a process takes that has all that it can do.
    """
    rows = select(found["rows"], part="costs")
    loaded = []
    for rate in dict.fromkeys(float(row["rate"]) for row in select(rows, api=1, products=10)):
        of: Row = {"rate": rate, "api": 1, "products": 10}
        loaded.append({"rate": middle(rows, "answered_per_second", of)} | {n: middle(rows, n, of) for n in FIGURES})
    return {
        "taken": found["taken"],
        "machine": found["machine"],
        "busy_before": found["busy_before"],
        "by_rate": loaded,
        "saturated": saturated(others["rows"]),
        "nine_api_processes_at_rest": {name: middle(rows, name, {"rate": 0, "api": MANY}) for name in FIGURES},
        "thousand_products_at_rest": {name: middle(rows, name, {"rate": 0, "products": 1000}) for name in FIGURES},
    }


def saturated(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Return rate and cores of an API process, a worker and a store that have all that they can do."""
    api: Row = {"part": "orders", "subject": best_known(rows)}
    worker: Row = {"part": "worker", "case": "everything"}
    settled = middle(rows, "orders_per_second", worker)
    return {
        "api": {"rate": middle(rows, "requests_per_second", api), "cores": middle(rows, "cpu_share", api)},
        "worker": {"rate": settled, "cores": settled * middle(rows, "cpu_us", worker) / 1e6},
        "store": {"rate": 1e6 / STORE_ORDER_US, "cores": 1.0},
    }


def best_known(rows: Iterable[Row]) -> str:
    """Return the interceptor's subject that stands for `lean`: itself, or what it passes recorded requests to."""
    return next(name for name in (NAME, "ours-contrib-all") if select(rows, part="orders", subject=name))


def middle(rows: Iterable[Row], name: str, match: Row) -> float:
    """Return the median of a figure, to five digits."""
    return float(f"{statistics.median(values(select(rows, **match), name)):.5g}")


@app.command()
def measure(
    times: Annotated[int, typer.Option("--rounds", help="how often each case")] = ROUNDS,
    seconds: Annotated[float, typer.Option(help="measured in each")] = SECONDS,
    to: Annotated[Path, typer.Option(help="the results file")] = RESULTS,
) -> None:
    """Measure all cases, `costs` and `check` in turn, and write both files."""
    busy = machine.busy_share()
    with ExitStack() as stack:
        stack.enter_context(machine.on(machine.other_cores()))
        store = stack.enter_context(open_store(durable=True))
        bench = Bench(store, stack.enter_context(rounds.receiving()), FULL)
        rows: list[Row] = []
        for number in range(times):
            for case in CASES:
                rows.append(_again(bench, case, seconds) | {"round": number})
                sys.stderr.write(f"{rows[-1]}\n")
    write(to, results("full", rows, busy))
    if to == RESULTS:
        render()


@app.command()
def render() -> None:
    """Write the constants of `flash-sale plan` anew from docs/capacity.json, without measuring."""
    COSTS.write_text(rendered())


def rendered() -> str:
    """Return the text of `service/capacity/costs.json`."""
    return json.dumps(costs(read(RESULTS), read(PERFORMANCE)), indent=1) + "\n"


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.fleets")
