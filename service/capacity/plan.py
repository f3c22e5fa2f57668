"""The capacity model: from what is asked for and measured costs to processes, nodes, money, and what gives way first.

A process may use `busy` of a core. A product lives on one shard, and a shard on one core of a store server; every
process reads every shard once a second. A worker has so many payments under way, so it settles at most that number
divided by the time of one (Little's law).
"""

import math
from dataclasses import dataclass

from service.capacity.costs import Costs, Curve
from service.capacity.demand import Demand
from service.store.keys import MAX_SHARDS

MIN_CLUSTER = 3
"""Primaries that a Redis Cluster needs."""
REWRITE = 2.0
"""A store may need so many times its memory while it rewrites its append-only file."""
NODE_SHARE = 0.8
"""Of a node's memory: the rest is the system's."""
MAX_CLIENTS = 10_000
"""Connections that Redis and Valkey take unless `maxclients` says otherwise."""


@dataclass(frozen=True, slots=True)
class Breaks:
    """A limit: what is full, at how many orders per second of this plan, and what to do then."""

    what: str
    orders_per_second: float
    then: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a sale needs.

    Attributes:
        api_processes, worker_processes: of `flash-sale api` and `worker`, one core each.
        shards: STORE_SHARDS.
        store_servers: primaries and replicas.
        app_nodes, store_nodes: machines; no store server shares one with API or worker, nor with its replica.
        price_per_hour: of all nodes.
        price_per_million_orders: of the nodes while they are used.
        store_gib: memory of all orders of the sale, each counted once.
        aof_mib_per_second: written to the disks of all primaries.
        spans_per_second, otlp_mib_per_second: to the collectors.
        series: for Prometheus.
        connections: to each store server.
        breaks: limits, the first one first.
        impossible: why there is no such sale, "" if there is.
    """

    api_processes: int
    worker_processes: int
    shards: int
    store_servers: int
    app_nodes: int
    store_nodes: int
    price_per_hour: float
    price_per_million_orders: float
    store_gib: float
    aof_mib_per_second: float
    spans_per_second: float
    otlp_mib_per_second: float
    series: int
    connections: int
    breaks: tuple[Breaks, ...]
    impossible: str

    @property
    def nodes(self) -> int:
        """All machines."""
        return self.app_nodes + self.store_nodes


def make_plan(demand: Demand, costs: Costs) -> Plan:
    """Compute what a sale needs.

    Returns:
        The plan; if the sale cannot be, `impossible` says why, and the figures are those of the nearest that can.
    """
    rate = demand.orders_per_second
    api = _processes(rate, costs.api, demand.busy)
    worker = _workers(demand, costs)
    processes = api + worker
    shards, impossible = _shards(demand, costs, processes)
    primaries = shards if shards == 1 else max(shards, MIN_CLUSTER)
    gib = rate * demand.sale_minutes * 60 * costs.store_bytes / 2**30
    app_nodes = _app_nodes(demand, costs, api, worker)
    store_nodes = _store_nodes(demand, primaries, gib)
    price = (app_nodes + store_nodes) * demand.node_price
    spans = min(rate / api / costs.spans_from, 1) * costs.spans * api
    return Plan(
        api_processes=api,
        worker_processes=worker,
        shards=shards,
        store_servers=primaries * (1 + demand.replicas),
        app_nodes=app_nodes,
        store_nodes=store_nodes,
        price_per_hour=price,
        price_per_million_orders=price / (rate * 3600) * 1e6,
        store_gib=gib,
        aof_mib_per_second=rate * costs.aof_bytes / 2**20,
        spans_per_second=spans,
        otlp_mib_per_second=spans * costs.otlp_bytes / 2**20,
        series=round(
            costs.series + (processes - 2) * costs.series_per_process + demand.products * costs.series_per_product
        ),
        connections=math.ceil(processes * costs.connections),
        breaks=_breaks(demand, costs, api, worker, shards),
        impossible=impossible,
    )


def _processes(rate: float, curve: Curve, busy: float) -> int:
    return max(math.ceil(rate / curve.rate(busy)), 1)


def _workers(demand: Demand, costs: Costs) -> int:
    return max(math.ceil(demand.orders_per_second / min(_worker_rates(demand, costs))), 1)


def _worker_rates(demand: Demand, costs: Costs) -> list[float]:
    """Return the orders per second of one worker: by its CPU, and by the payments that it has under way."""
    rates = [costs.worker.rate(demand.busy)]
    if demand.payment_seconds:
        rates.append(demand.concurrency * demand.busy / demand.payment_seconds)
    return rates


def _shards(demand: Demand, costs: Costs, processes: int) -> tuple[int, str]:
    """Return the fewest shards that do, and why none does."""
    alone, possible = costs.store.rate(demand.busy), costs.store.rate(demand.busy - _reading(costs, processes))
    hottest = demand.orders_per_second * demand.hottest
    if hottest > alone:
        why = f"the hottest product has {hottest:,.0f} orders/s, its shard takes {alone:,.0f}"
        return MAX_SHARDS, f"{why}: sell it as {math.ceil(hottest / alone)} products"
    for shards in range(1, MAX_SHARDS + 1):
        if demand.orders_per_second * demand.busiest_shard(shards) <= possible:
            return shards, ""
    if possible < alone / 2:
        return MAX_SHARDS, f"{processes} processes that read each shard every second leave it too little for orders"
    return MAX_SHARDS, f"the busiest of {MAX_SHARDS} shards, which is the most, takes {possible:,.0f} orders/s"


def _reading(costs: Costs, processes: int) -> float:
    """Return the cores of a store server that the processes beyond the first two take, whatever is sold."""
    return max(processes - 2, 0) * costs.store_per_process


def _app_nodes(demand: Demand, costs: Costs, api: int, worker: int) -> int:
    memory = (api * costs.api_mib + worker * costs.worker_mib) / 1024
    return max(math.ceil((api + worker) / demand.node_cores), math.ceil(memory / (demand.node_gib * NODE_SHARE)))


def _store_nodes(demand: Demand, primaries: int, gib: float) -> int:
    by_memory = math.ceil(gib * REWRITE / (demand.node_gib * NODE_SHARE))
    nodes = max(math.ceil(primaries / demand.node_cores), by_memory)
    return nodes * (1 + demand.replicas)


def _series(costs: Costs, processes: int, products: int) -> int:
    return round(costs.series + (processes - 2) * costs.series_per_process + products * costs.series_per_product)


def _breaks(demand: Demand, costs: Costs, api: int, worker: int, shards: int) -> tuple[Breaks, ...]:
    processes = api + worker
    whole = costs.store.rate(max(1 - _reading(costs, processes), 0))
    limits = [
        Breaks("CPU of the API", api * costs.api.rate(1), "more API processes"),
        Breaks("CPU of the workers", worker * costs.worker.rate(1), "more workers"),
    ]
    if demand.payment_seconds:
        at_a_time = worker * demand.concurrency / demand.payment_seconds
        limits.append(Breaks("payments under way", at_a_time, "more workers, or ORDER_CONCURRENCY"))
    if whole:
        limits += [
            Breaks("core of the hottest product's shard", whole / demand.hottest, "sell it as several products"),
            Breaks("core of the busiest shard", whole / demand.busiest_shard(shards), "more shards"),
        ]
    each = 1 / costs.api.rate(demand.busy) + 1 / min(_worker_rates(demand, costs))
    per_process = 1 / each  # there are more of them as there are more orders
    if costs.store_per_process:
        readers = 2 + (1 - costs.store.at_rest) / costs.store_per_process
        limits.append(Breaks("shards that all processes read", readers * per_process, "higher ORDER_CONCURRENCY"))
    limits.append(Breaks("connections of a store server", MAX_CLIENTS / costs.connections * per_process, "maxclients"))
    return tuple(sorted(limits, key=lambda limit: limit.orders_per_second))
