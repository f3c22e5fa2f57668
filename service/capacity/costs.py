"""What one order costs each part, as it was measured: the one place that the plan takes its constants from.

`costs.json` is written by `python -m benchmarks.fleets` and holds when and on what machine it was measured. CPU is told
by the rate of orders, because orders that come close together share calls of the store.
"""

import json
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The constants of the plan.

    Attributes:
        taken: when they were measured, ISO 8601.
        machine: on what.
        api: cores of an API process.
        worker: cores of an order worker whose payments take no time.
        store: cores of a store server (`appendfsync always`) with one API process and one worker on it.
        store_per_process: cores that each further process takes of a store server at rest.
        api_mib, worker_mib: memory of a process.
        store_bytes: memory of the store for each order that has ended.
        aof_bytes: bytes that each order adds to the append-only file.
        spans: spans that an API process and the worker behind it export per second, at most.
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
    by_rate, three, thousand = (
        told["by_rate"],
        told["three_api_processes_at_rest"],
        told["thousand_products_at_rest"],
    )
    rest, busiest = by_rate[0], by_rate[-1]
    loaded = by_rate[1:]

    def curve(name: str) -> Curve:
        return Curve(tuple((at["rate"], at[name]) for at in by_rate))

    return Costs(
        taken=told["taken"],
        machine=told["machine"],
        api=curve("api_cores"),
        worker=curve("worker_cores"),
        store=curve("store_cores"),
        store_per_process=max(three["store_cores"] - rest["store_cores"], 0) / 2,
        api_mib=max(at["api_mib"] for at in by_rate),
        worker_mib=max(at["worker_mib"] for at in by_rate),
        store_bytes=busiest["store_bytes"],
        aof_bytes=busiest["aof_bytes"],
        spans=max(at["spans_per_second"] for at in loaded),
        otlp_bytes=busiest["otlp_bytes_per_second"] / busiest["spans_per_second"],
        series=busiest["api_series"] + busiest["worker_series"],
        series_per_process=(three["api_series"] - rest["api_series"]) / 2,
        series_per_product=(thousand["api_series"] - rest["api_series"]) / 990,
        connections=max((three["connections"] - rest["connections"]) / 2, 1),
    )
