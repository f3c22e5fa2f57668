"""The gentle crowd of a demo: the same engine, without an end, one log line a round."""

import asyncio
from datetime import timedelta
from typing import Any

import structlog

from service.crowd.engine import CrowdError, run_crowd, wait_until_ready
from service.crowd.plan import CrowdPlan
from service.crowd.report import CrowdReport

ROUND = timedelta(minutes=1)
NOTHING_FOR_SALE_SECONDS = 5.0
# Far more users than a demo ever sees, so that a limit per user does not bring it to a halt.
USERS = 10_000_000
CONCURRENCY = 32
CANCEL_SHARE = 0.02


async def run_demo_crowd(base_url: str, rate: float, *, round_length: timedelta = ROUND) -> None:
    """Shop at `rate` orders per second until cancelled, whatever happens to the service meanwhile.

    Each round first waits until the service is ready and asks anew what is for sale.
    """
    log = structlog.get_logger(__name__)
    while True:
        plan = CrowdPlan(
            base_url=base_url,
            rate=rate,
            duration=round_length,
            users=USERS,
            user_prefix="demo",
            concurrency=CONCURRENCY,
            cancel_share=CANCEL_SHARE,
            keep_order_ids=False,
        )
        await wait_until_ready(plan)
        try:
            report = await run_crowd(plan)
        except CrowdError as error:
            log.warning("the crowd waits", reason=str(error))
            await asyncio.sleep(NOTHING_FOR_SALE_SECONDS)
            continue
        log.info("crowd", **_summary(report))
        if report.interrupted:
            raise asyncio.CancelledError


def _summary(report: CrowdReport) -> dict[str, Any]:
    return {
        "orders": report.orders,
        "accepted": report.accepted,
        "refusals": dict(report.refusals),
        "errors": report.errors,
        "accepted_p50_ms": report.accepted_latency_ms.p50,
        "accepted_p99_ms": report.accepted_latency_ms.p99,
    }
