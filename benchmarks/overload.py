"""Part `overload`: up to three times the orders that the worker can settle, and what becomes of them.

The worker is held back by a payment that takes 50 ms on average, ten at a time: about 200 orders a second. Goodput is
what was confirmed per second of the load; waits are read from the ledger, order by order, and so are exact.
"""

import asyncio

from benchmarks import load, machine
from benchmarks.bench import Bench, Row
from benchmarks.program import wait_until
from benchmarks.rounds import audit, serving, working
from benchmarks.shop import put_products
from benchmarks.store import Store
from benchmarks.subjects import STOCK, subject
from service.ledger.audit import dump_ledger
from service.ledger.ledger import ledger_scripts
from service.ledger.orders import Order, Status
from service.store import Shards, connect

PART = "overload"
CAPACITY = 200.0
MAX_WAIT_SECONDS = 2.0
SETTLE_SECONDS = 60.0
CONNECTIONS = 64
WORKER = {
    "ORDER_WORKERS": "1",
    "ORDER_CONCURRENCY": "10",
    "PAYMENT_LATENCY_SECONDS": "0.05",
}


def run(bench: Bench) -> list[Row]:
    """Measure each factor once, the smallest first, each on an empty store with processes of its own."""
    return [_measure(bench, factor) for factor in bench.scale.overload]


def _measure(bench: Bench, factor: float) -> Row:
    store, seconds = bench.store, bench.scale.overload_seconds
    store.flush()
    put_products(store, 1, STOCK)
    limits = {"MAX_WAIT_SECONDS": str(MAX_WAIT_SECONDS)}
    api = subject("ours-lean-all", **limits)
    with serving(api, store, bench.receiver) as (_, port), working(store, WORKER, machine.other_cores()):
        shape = load.Shape(connections=CONNECTIONS, warm=3.0, seconds=seconds, rate=CAPACITY * factor)
        begun: list[int] = []
        got = load.drive(port, load.orders(), shape, lambda: begun.append(store.totals().get("confirmed", 0)))
        wait_until(lambda: _settled(store), "all orders are settled", SETTLE_SECONDS)
    audit(store)
    orders = asyncio.run(_orders(store.url))
    waits = [_wait_seconds(order) for order in orders]
    errors = [abs(order.estimated_wait_seconds - _wait_seconds(order)) for order in orders]
    return {
        "part": PART,
        "factor": factor,
        "offered_per_second": got.per_second(),
        "accepted_per_second": got.per_second(202),
        "confirmed_per_second": (begun[1] - begun[0]) / got.seconds,
        "overloaded_per_second": got.per_second(503),
        "other_answers": got.answers - got.statuses[202] - got.statuses[503],
        "settled_p50_seconds": load.quantile(waits, 0.5),
        "settled_p99_seconds": load.quantile(waits, 0.99),
        "eta_error_p50_seconds": load.quantile(errors, 0.5),
        "answer_p99_ms": got.latency_ms(0.99),
    }


def _settled(store: Store) -> bool:
    totals = store.totals()
    return totals.get("confirmed", 0) >= totals.get("pending", 0)


async def _orders(url: str) -> list[Order]:
    async with connect(url, name="benchmark", timeout_seconds=60) as client:
        dump = await dump_ledger(Shards(client, ledger_scripts()))
        return [order for order in dump.orders.values() if order.status is Status.CONFIRMED]


def _wait_seconds(order: Order) -> float:
    return ((order.settled_at or order.accepted_at) - order.accepted_at).total_seconds()
