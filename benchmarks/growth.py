"""Part `growth`: what many stored orders and many products cost. One store a size, measured in turn, round by round.

Every size is filled by the ledger's own steps: orders placed, begun and confirmed, each by a user of its own. The
store's memory per settled order is what it has more than before, divided by the orders; on Redis, too, where it is
installed.
"""

import http.client
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks import machine, preload, rounds
from benchmarks.bench import Bench, Row
from benchmarks.load import Shape
from benchmarks.program import Program
from benchmarks.shop import put_products
from benchmarks.store import Store, open_store
from benchmarks.subjects import STOCK, subject

PART, MEMORY = "growth", "memory"
NAME = "ours-lean-all"
SCRAPES = 5
FIRST_USER = 100_000_000  # of the measured orders: nobody who ordered before


def run(bench: Bench) -> list[Row]:
    """Measure throughput, latency, scrape and memory at each number of orders, then of products."""
    scale = bench.scale
    stored = [(orders, 1) for orders in scale.stored]
    offered = [(0, products) for products in scale.products]
    return [*_compare(bench, "orders stored", stored), *_compare(bench, "products", offered), *_memory_on_redis(bench)]


def _compare(bench: Bench, axis: str, sizes: list[tuple[int, int]]) -> list[Row]:
    rows: list[Row] = []
    with ExitStack() as stack:
        stores = []
        for orders, products in sizes:
            store = stack.enter_context(open_store())
            rows += _fill(store, orders, products)
            stores.append((store, orders or products, products))
        for number in range(bench.scale.few):
            for store, size, products in stores:
                rows.append(_measure(bench, store, products, number) | {"axis": axis, "size": size})
        for store, _, _ in stores:
            rounds.audit(store)
    return rows


def _fill(store: Store, orders: int, products: int) -> list[Row]:
    """Stock a store and settle orders in it; return a row of what they weigh, where there are any."""
    put_products(store, products, STOCK)
    if not orders:
        return []
    before, begun = store.used_bytes(), time.perf_counter()
    with _on_all_cores():
        preload.settle(store, range(orders), products)
    row: Row = {"part": MEMORY, "server": store.server, "orders": orders, "seconds": time.perf_counter() - begun}
    return [row | {"bytes_per_order": (store.used_bytes() - before) / orders}]


def _measure(bench: Bench, store: Store, products: int, number: int) -> Row:
    seen: Row = {}

    def after(server: Program, port: int) -> None:
        api = machine.tree(server.pid)[-1]
        seen["scrape_ms"] = statistics.median(_scrape_ms(port) for _ in range(SCRAPES))
        seen["api_megabytes"] = machine.resident_bytes(api) / 2**20
        seen["store_megabytes"] = store.used_bytes() / 2**20

    what = rounds.Slice(
        shape=Shape(warm=bench.scale.warm, seconds=bench.scale.seconds),
        products=products,
        fresh=False,
        first_user=FIRST_USER * (number + 1),
        audited=False,
        after=after,
    )
    return rounds.measure(subject(NAME), store, bench.receiver, what).row(PART, round=number) | seen


def _scrape_ms(port: int) -> float:
    time.sleep(0.25)
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        connection.getresponse().read()
    finally:
        connection.close()
    return (time.perf_counter() - begun) * 1000


def _memory_on_redis(bench: Bench) -> list[Row]:
    program = shutil.which("redis-server")
    if program is None:
        return []
    with open_store(program) as store:
        return _fill(store, bench.scale.stored[1], 1)


@contextmanager
def _on_all_cores() -> Iterator[None]:
    with machine.on(machine.server_cores() | machine.other_cores()):
        yield
