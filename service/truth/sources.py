"""Reads the ledger, and the sum of `/metrics` over all targets, as figures that can be subtracted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from service.ledger.snapshot import take_snapshot
from service.store import Shards, StoreConnectionError

Sample = tuple[str, dict[str, str], float]

ORDER_WORKER = "order-"
STARTED = "process_start_time_seconds"
ORDERS = "flash_sale_orders_total"
REJECTIONS = "flash_sale_rejections_total"
REQUESTS = "http_server_request_duration_seconds_count"


Process = tuple[str, str]
"""The target that tells of it, and its name there."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What one process answered since it started, by the HTTP status of `POST /orders`."""

    started: float
    statuses: Counter[str]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the ledger and the metrics said at one time.

    Each counter is by one word: a status of orders, a reason of refusals. What processes answered ends with them:
    `restarted` are those that have begun anew, of which nobody knows what they had counted before.
    """

    ledger_orders: Counter[str]
    ledger_refusals: Counter[str]
    queue_length: int
    metric_orders: Counter[str]
    metric_refusals: Counter[str]
    processes: dict[Process, Answered]
    restarted: int = 0

    @property
    def metric_requests(self) -> Counter[str]:
        """How often `POST /orders` was answered, by HTTP status."""
        total: Counter[str] = Counter()
        for process in self.processes.values():
            total.update(process.statuses)
        return total

    def since(self, before: "Figures") -> "Figures":
        """Return what happened between two readings."""

        def grown(now: Counter[str], then: Counter[str]) -> Counter[str]:
            return Counter({word: now[word] - then[word] for word in now.keys() | then.keys()})

        return Figures(
            grown(self.ledger_orders, before.ledger_orders),
            grown(self.ledger_refusals, before.ledger_refusals),
            self.queue_length,
            grown(self.metric_orders, before.metric_orders),
            grown(self.metric_refusals, before.metric_refusals),
            {
                name: Answered(now.started, grown(now.statuses, then.statuses))
                for name, now in self.processes.items()
                for then in (_same_process(now, before.processes.get(name)),)
            },
            sum(
                name not in self.processes or self.processes[name].started != then.started
                for name, then in before.processes.items()
            ),
        )


class TargetError(Exception):
    """A target does not answer; the message says why."""


class MetricSources:
    """Reads one store and the `/metrics` of several targets.

    Args:
        shards: The store, read directly and not through the service.
        targets: URLs of `/metrics`; together they must be all processes, each once.
    """

    def __init__(self, shards: Shards, targets: Sequence[str]) -> None:
        self._shards = shards
        self._targets = targets

    async def read(self) -> Figures:
        """Read everything now.

        Raises:
            TargetError: A target does not answer.
            redis.exceptions.RedisError: The store does not.
        """
        snapshot = await take_snapshot(self._shards)
        if snapshot.missing_shards:
            raise StoreConnectionError(f"shards {list(snapshot.missing_shards)} of the store do not answer")
        samples = await scrape(self._targets)
        return Figures(
            ledger_orders=Counter({str(status): count for status, count in snapshot.orders.items()}),
            ledger_refusals=Counter(snapshot.rejections),
            queue_length=snapshot.queue_length,
            metric_orders=_sum(samples, ORDERS, "status"),
            metric_refusals=_sum(samples, REJECTIONS, "reason"),
            processes=_answered(samples),
        )


async def scrape(targets: Iterable[str]) -> list[Sample]:
    """Return every sample of these URLs of `/metrics`, which is the label `target`.

    Raises:
        TargetError: One does not answer.
    """
    samples: list[Sample] = []
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            for target in targets:
                async with session.get(target, headers={"Accept": "text/plain; version=0.0.4"}) as answer:
                    answer.raise_for_status()
                    families = text_string_to_metric_families(await answer.text())
                samples += [
                    (found.name, {**found.labels, "target": target}, found.value)
                    for family in families
                    for found in family.samples
                ]
    except aiohttp.ClientError as error:
        raise TargetError(str(error)) from None
    return samples


def _sum(samples: Iterable[Sample], name: str, label: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for found, labels, value in samples:
        if found == name:
            total[labels[label]] += int(value)
    return total


def _answered(samples: Sequence[Sample]) -> dict[Process, Answered]:
    def whose(labels: Mapping[str, str]) -> Process:
        return labels["target"], labels.get("worker", "")

    found = {
        whose(labels): Answered(value, Counter())
        for name, labels, value in samples
        if name == STARTED and not whose(labels)[1].startswith(ORDER_WORKER)
    }
    for name, labels, value in samples:
        if name == REQUESTS and (labels.get("http_route"), labels["http_request_method"]) == ("/orders", "POST"):
            found.setdefault(whose(labels), Answered(0.0, Counter())).statuses[labels["http_response_status_code"]] += (
                int(value)
            )
    return found


def _same_process(now: Answered, then: Answered | None) -> Answered:
    """Return what a process had counted before; nothing, if there was none of this name, or another."""
    return then if then and then.started == now.started else Answered(now.started, Counter())
