"""Reads the ledger, and the sum of `/metrics` over all targets, as figures that can be subtracted."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import ConnectionError as StoreConnectionError

from service.ledger.snapshot import take_snapshot
from service.store import Shards

Sample = tuple[str, dict[str, str], float]

ORDERS = "flash_sale_orders_total"
REJECTIONS = "flash_sale_rejections_total"
REQUESTS = "http_server_request_duration_seconds_count"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the ledger and the metrics said at one time.

    Each counter is by one word: a status of orders, a reason of refusals, an HTTP status of `POST /orders`.
    """

    ledger_orders: Counter[str]
    ledger_refusals: Counter[str]
    queue_length: int
    metric_orders: Counter[str]
    metric_refusals: Counter[str]
    metric_requests: Counter[str]

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
            grown(self.metric_requests, before.metric_requests),
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
            metric_requests=_sum(
                (s for s in samples if s[1].get("http_route") == "/orders" and s[1]["http_request_method"] == "POST"),
                REQUESTS,
                "http_response_status_code",
            ),
        )


async def scrape(targets: Iterable[str]) -> list[Sample]:
    """Return every sample of these URLs of `/metrics`.

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
                samples += [(found.name, found.labels, found.value) for family in families for found in family.samples]
    except aiohttp.ClientError as error:
        raise TargetError(str(error)) from None
    return samples


def _sum(samples: Iterable[Sample], name: str, label: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for found, labels, value in samples:
        if found == name:
            total[labels[label]] += int(value)
    return total
