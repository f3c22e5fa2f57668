"""What one order costs each part, as it was measured: the one place that the plan takes its constants from.

`costs.json` is written by `python -m benchmarks.fleets` and holds when and on what machine it was measured. CPU is told
by the rate of orders, because orders that come close together share calls of the store.
"""

import json
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Curve:
    """Cores that a process uses, by orders per second: straight lines between measured points, the last one goes on.

    Attributes:
        points: pairs of a rate and the cores that it took, the rates rising, the first 0.
    """

    points: Sequence[tuple[float, float]]

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> "Curve":
        """Make a curve that never falls: where measured points do, each of them counts as their mean.

        Who has more to do than it can shares calls with more orders, so a busier process may take less.
        """
        pools: list[list[tuple[float, float]]] = []
        for point in points:
            pools.append([point])
            while len(pools) > 1 and _mean(pools[-1]) < _mean(pools[-2]):
                pools[-2] += pools.pop()
        return cls(tuple((rate, _mean(pool)) for pool in pools for rate, _ in pool))

    @property
    def at_rest(self) -> float:
        """Cores without any order."""
        return self.points[0][1]

    def cores(self, rate: float) -> float:
        """Return the cores that a rate takes, in orders per second."""
        (from_rate, low), (to_rate, high) = self._segment(bisect_left([at for at, _ in self.points], rate))
        return low + (high - low) * (rate - from_rate) / (to_rate - from_rate)

    def rate(self, cores: float) -> float:
        """Return the orders per second that so many cores take; 0 when they do not do for a process at rest."""
        if cores <= self.at_rest:
            return 0.0
        (from_rate, low), (to_rate, high) = self._segment(bisect_left([used for _, used in self.points], cores))
        return from_rate + (to_rate - from_rate) * (cores - low) / (high - low)

    def _segment(self, index: int) -> tuple[tuple[float, float], tuple[float, float]]:
        end = min(max(index, 1), len(self.points) - 1)
        return self.points[end - 1], self.points[end]


def _mean(points: Sequence[tuple[float, float]]) -> float:
    return sum(cores for _, cores in points) / len(points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The constants of the plan.

    Attributes:
        taken: when they were measured, ISO 8601.
        machine: on what.
        api: cores of an API process.
        worker: cores of an order worker whose payments take no time.
        store: cores of a store server (`appendfsync everysec`) with one API process and one worker on it.
        store_per_process: cores that each further process takes of a store server at rest.
        api_mib, worker_mib: memory of a process.
        store_bytes: memory of the store for each order that has ended.
        aof_bytes: bytes that each order adds to the append-only file.
        spans: spans that an API process and the worker behind it export per second, at most.
        spans_from: orders per second of a process from which that is so.
        otlp_bytes: bytes of spans and log lines for each span, as they are sent.
        series: series of one API process and one worker, products left out.
        series_per_process, series_per_product: of each further one.
        connections: connections to each store server of one process.
    """

    taken: str
    machine: dict[str, str]
    api: Curve
    worker: Curve
    store: Curve
    store_per_process: float
    api_mib: float
    worker_mib: float
    store_bytes: float
    aof_bytes: float
    spans: float
    spans_from: float
    otlp_bytes: float
    series: float
    series_per_process: float
    series_per_product: float
    connections: float


def measured_costs() -> Costs:
    """Return the constants that came with this version."""
    return read_costs(json.loads((files("service.capacity") / "costs.json").read_text()))


def read_costs(told: dict[str, Any]) -> Costs:
    """Make the constants of what `costs.json` holds."""
    by_rate, nine, thousand = (
        told["by_rate"],
        told["nine_api_processes_at_rest"],
        told["thousand_products_at_rest"],
    )
    rest, loaded = by_rate[0], by_rate[1:]

    def curve(name: str) -> Curve:
        limit = told["saturated"][name]
        points = [(at["rate"], at[f"{name}_cores"]) for at in by_rate]
        return Curve.through([*points, (limit["rate"], limit["cores"])])

    def typical(name: str) -> float:
        return float(statistics.median(at[name] for at in loaded))

    return Costs(
        taken=told["taken"],
        machine=told["machine"],
        api=curve("api"),
        worker=curve("worker"),
        store=curve("store"),
        store_per_process=max(nine["store_cores"] - rest["store_cores"], 0) / 8,
        api_mib=max(at["api_mib"] for at in by_rate),
        worker_mib=max(at["worker_mib"] for at in by_rate),
        store_bytes=typical("store_bytes"),
        aof_bytes=typical("aof_bytes"),
        spans=max(at["spans_per_second"] for at in loaded),
        spans_from=loaded[0]["rate"],
        otlp_bytes=typical("otlp_bytes_per_second") / typical("spans_per_second"),
        series=typical("api_series") + typical("worker_series"),
        series_per_process=(nine["api_series"] - rest["api_series"]) / 8,
        series_per_product=(thousand["api_series"] - rest["api_series"]) / 990,
        connections=max((nine["connections"] - rest["connections"]) / 8, 1),
    )
