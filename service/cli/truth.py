"""`flash-sale crowd --truth`: a crowd between two readings of everything, and what they agree on."""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING

from service.cli.errors import OperatorError

if TYPE_CHECKING:
    from service.crowd import CrowdPlan, CrowdReport
    from service.truth import Figures, MetricSources, Row, SpanReceiver

TIMEOUT_SECONDS = 15.0  # spans leave every 5 s, refusals reach the ledger every second
POLL_SECONDS = 0.5


def truth_command(plan: "CrowdPlan", targets: list[str], receive: int | None, *, as_json: bool) -> int:
    """Run the plan and print the report; return 1 when two of them differ."""
    report, rows, others = asyncio.run(_run(plan, targets or [f"{plan.base_url}/metrics"], receive))
    wrong = [row for row in rows if not row.agrees]
    if others:
        sys.stderr.write(
            f"flash-sale crowd: {others} of the requests that the service counted were not this crowd's: somebody else "
            "shops there (start it with CROWD=0), or two targets are one\n"
        )
    if as_json:
        table = [{"what": r.what, **_figures(r), "agrees": r.agrees} for r in rows]
        sys.stdout.write(json.dumps({"true": not wrong, "requests": report.requests, "rows": table}, indent=2) + "\n")
        return 1 if wrong else 0
    sys.stdout.write(f"{'':<28}{'clients':>10}{'ledger':>10}{'metrics':>10}{'spans':>10}\n")
    for row in rows:
        figures = "".join(f"{'-' if figure is None else figure:>10}" for figure in _figures(row).values())
        sys.stdout.write(f"{row.what:<28}{figures}{'' if row.agrees else '   DIFFERS'}\n")
    verdict = f"{len(wrong)} rows differ" if wrong else "all agree"
    sys.stdout.write(f"\n{report.requests} requests, {report.orders} orders, seed {report.seed}: {verdict}\n")
    return 1 if wrong else 0


def _figures(row: "Row") -> dict[str, int | None]:
    return {"clients": row.clients, "ledger": row.ledger, "metrics": row.metrics, "spans": row.spans}


async def _run(plan: "CrowdPlan", targets: list[str], receive: int | None) -> "tuple[CrowdReport, list[Row], int]":
    from service.crowd import CrowdError, run_crowd
    from service.crowd.view import progress
    from service.processes.fleet import store_of
    from service.processes.startup import open_shards
    from service.settings import Settings
    from service.truth import MetricSources, SpanReceiver, TargetError
    from telemetry import configure_logging

    settings = Settings.from_env(os.environ)
    configure_logging(level="ERROR", stream=sys.stderr, json=settings.log_format == "json")
    async with AsyncExitStack() as stack:
        spans = await stack.enter_async_context(SpanReceiver(receive)) if receive is not None else None
        url, store = store_of(settings, stack.enter_context(ExitStack()))
        if store is not None:
            raise OperatorError(
                f"nothing runs on the store in DATA_DIR={settings.data_dir}: "
                "set DATA_DIR or REDIS_URL as the service that is asked has it"
            )
        shards = await stack.enter_async_context(open_shards(settings, url, name="flash-sale-truth", wait_seconds=2))
        sources = MetricSources(shards, targets)
        try:
            before = await sources.read()
            with progress(sys.stderr) as show:
                report = await run_crowd(plan, show)
            rows, others = await _agreed(report, sources, before, spans)
        except TargetError as error:
            raise OperatorError(f"a target does not answer, are --url and --target right? {error}") from None
        except CrowdError as error:
            raise OperatorError(str(error)) from None
    return report, rows, others


async def _agreed(
    report: "CrowdReport", sources: "MetricSources", before: "Figures", spans: "SpanReceiver | None"
) -> "tuple[list[Row], int]":
    """Compare until the queue is empty and everybody agrees, or time is up; return the last comparison.

    Besides, how many requests the service counted that the crowd did not send. After one of them nobody can agree.
    """
    from service.truth import compare

    loop = asyncio.get_running_loop()
    shortest, end = -1, 0.0
    while True:
        now = await sources.read()
        figures = now.since(before)
        rows = compare(report, figures, spans)
        others = max(figures.metric_requests.total() - report.requests, 0)
        if others or (now.queue_length == 0 and all(row.agrees for row in rows)):
            return rows, others
        if shortest < 0 or now.queue_length < shortest:  # the queue still moves
            shortest, end = now.queue_length, loop.time() + TIMEOUT_SECONDS
        if loop.time() > end:
            return rows, others
        await asyncio.sleep(POLL_SECONDS)
