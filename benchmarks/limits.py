"""Part `limits`: the script that places orders, called by redis-benchmark with nothing of ours in between."""

import hashlib
import subprocess
import time

from benchmarks import machine
from benchmarks.bench import Bench, Row
from benchmarks.shop import put_products
from benchmarks.store import redis_benchmark
from benchmarks.subjects import STOCK
from service.ledger.ledger import ledger_scripts
from service.store import keys

PART = "limits"
CONNECTIONS = 64
RANDOM = "__rand_int__"  # 12 digits
ORDER = ("00" + RANDOM + "0" * 16, "p0", f"user-{RANDOM}", "1", "", "", "", "", "")
CASES = (("one order a call", 1, 1), ("one order a call, 16 calls pipelined", 1, 16), ("64 orders a call", 64, 1))


def run(bench: Bench) -> list[Row]:
    """Measure the script alone; nothing where redis-benchmark is not installed."""
    program = redis_benchmark()
    if program is None:
        return []
    rows: list[Row] = []
    for number in range(bench.scale.few):
        for case, batch, pipeline in CASES:
            bench.store.flush()
            put_products(bench.store, 1, STOCK)
            rate, seconds = _place(program, bench, batch, pipeline)
            rows.append({"part": PART, "case": case, "round": number, "orders_per_second": rate, "seconds": seconds})
    return rows


def _place(program: str, bench: Bench, batch: int, pipeline: int) -> tuple[float, float]:
    """Return the orders per second, and how long it took."""
    calls = int(60_000 * bench.scale.seconds) // batch
    script = hashlib.sha1(ledger_scripts()["place"].encode(), usedforsecurity=False).hexdigest()
    argv = [program, "-p", str(bench.store.port), "-c", str(CONNECTIONS), "-P", str(pipeline), "-n", str(calls)]
    argv += ["-r", "1000000000", "-q", "EVALSHA", script, "2", keys.prefix(0), keys.identity(0)]
    argv += ["900000", "86400000", "benchmark", "0"]
    argv += ORDER * batch
    before, begun = bench.store.totals().get("pending", 0), time.perf_counter()
    with machine.on(machine.server_cores()):
        subprocess.run(argv, check=True, capture_output=True, timeout=120)  # noqa: S603 - a known program
    seconds = time.perf_counter() - begun
    return (bench.store.totals()["pending"] - before) / seconds, seconds
