"""Follows accepted orders until they are settled."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from http import HTTPStatus
from time import perf_counter

from service.crowd.api_client import ApiClient, NoResponse
from service.crowd.figures import Latencies
from service.crowd.plan import CrowdPlan
from service.crowd.report import CrowdReport, SettleReport

UNSETTLED = frozenset({"pending", "processing"})
WATCHERS = 8
FIRST_POLL_SECONDS = 0.05
MAX_POLL_SECONDS = 1.0


async def watch_orders(
    plan: CrowdPlan, report: CrowdReport, *, limit: int = 500, deadline: timedelta = timedelta(seconds=30)
) -> SettleReport:
    """Poll at most `limit` of the accepted orders until each is settled or the deadline has passed.

    The sample is spread evenly over the run. The time to settle is from the order's `accepted_at` to its
    `settled_at`, so the polling adds nothing to it.
    """
    sample = report.order_ids.sample(limit)
    async with ApiClient(plan) as client:
        watch = _Watch(client, iter(sample), perf_counter() + deadline.total_seconds())
        await asyncio.gather(*(watch.follow_all() for _ in range(min(WATCHERS, len(sample)))))
    return SettleReport(
        watched=len(sample),
        settled=dict(sorted(watch.settled.items())),
        unsettled=len(sample) - watch.settled.total() - watch.missing,
        missing=watch.missing,
        time_to_settle_ms=watch.times.percentiles(),
    )


class _Watch:
    """One follow-up; the watchers share the sample."""

    def __init__(self, client: ApiClient, order_ids: Iterator[str], end: float) -> None:
        self._client = client
        self._order_ids = order_ids
        self._end = end
        self.settled: Counter[str] = Counter()
        self.times = Latencies()
        self.missing = 0

    async def follow_all(self) -> None:
        for order_id in self._order_ids:
            await self._follow(order_id)

    async def _follow(self, order_id: str) -> None:
        """Poll one order, ever more seldom; an order is asked for at least once, deadline or not."""
        pause = FIRST_POLL_SECONDS
        while not await self._is_over(order_id):
            left = self._end - perf_counter()
            if left <= 0:
                return
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, MAX_POLL_SECONDS)

    async def _is_over(self, order_id: str) -> bool:
        answer = await self._client.order(order_id)
        if isinstance(answer, NoResponse):
            return False
        status, order = answer
        if status == HTTPStatus.NOT_FOUND:
            self.missing += 1
            return True
        if status != HTTPStatus.OK or order.get("status") in UNSETTLED:
            return False
        self.settled[str(order.get("status"))] += 1
        accepted, settled = order.get("accepted_at"), order.get("settled_at")
        if isinstance(accepted, str) and isinstance(settled, str):
            took = datetime.fromisoformat(settled) - datetime.fromisoformat(accepted)
            self.times.add(took.total_seconds())
        return True
