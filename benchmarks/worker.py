"""Part `worker`: how fast one order worker on one core empties a full queue, with a payment that takes no time."""

import time
from pathlib import Path

from benchmarks import machine, preload
from benchmarks.bench import Bench, Row
from benchmarks.program import ROOT, Program
from benchmarks.rounds import audit, working
from benchmarks.shop import put_products
from benchmarks.subjects import STOCK

PART = "worker"
CASES = {"telemetry off": {"OTEL_SDK_DISABLED": "true"}, "everything": {}}
SKIPPED = 0.1  # of the queue, while it starts
DEADLINE_SECONDS = 120.0
POLL_SECONDS = 0.02


def run(bench: Bench) -> list[Row]:
    """Measure both cases in turn, round by round."""
    return [
        measure(bench, case, env) | {"round": number}
        for number in range(bench.scale.few)
        for case, env in CASES.items()
    ]


def measure(bench: Bench, case: str, env: dict[str, str], checkout: Path = ROOT) -> Row:
    """Measure the worker of a checkout once."""
    store, queue = bench.store, bench.scale.queue
    store.flush()
    put_products(store, 1, STOCK)
    preload.place(store, range(queue))
    env = {"ORDER_WORKERS": "1", "PAYMENT_LATENCY_SECONDS": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": bench.receiver, **env}
    with working(store, env, machine.server_cores(), checkout) as (worker, _):
        at, cpu, done = _wait(bench, worker, int(queue * SKIPPED))
        end, cpu_end, done_end = _wait(bench, worker, queue)
    audit(store)
    settled = done_end - done
    return {
        "part": PART,
        "case": case,
        "orders_per_second": settled / (end - at),
        "cpu_us": (cpu_end - cpu) / settled * 1e6,
        "orders": settled,
    }


def _wait(bench: Bench, worker: Program, confirmed: int) -> tuple[float, float, int]:
    """Wait until so many orders are confirmed; return when that was, the worker's CPU time, and how many there are."""
    end = time.monotonic() + DEADLINE_SECONDS
    while (done := bench.store.totals().get("confirmed", 0)) < confirmed:
        if time.monotonic() > end:
            raise TimeoutError(f"{done} of {confirmed} orders after {DEADLINE_SECONDS:.0f} s:\n{worker.output[-2000:]}")
        time.sleep(POLL_SECONDS)
    return time.perf_counter(), worker.cpu_seconds(), done
