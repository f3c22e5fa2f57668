"""`flash-sale crowd --truth`: a crowd between two readings of everything, and what they agree on."""

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from service.cli.errors import OperatorError
from service.cli.store import not_there
from service.cli.streams import complain, write_line

if TYPE_CHECKING:
    from service.crowd import CrowdPlan, CrowdReport
    from service.truth import Figures, MetricSources, Row, SpanReceiver

TIMEOUT_SECONDS = 15.0  # spans leave every 5 s, refusals reach the ledger every second
POLL_SECONDS = 0.5
ASK_AGAIN_SECONDS = 15.0
SECOND_LOOK_SECONDS = 2.0  # what had no answer may have been a refusal that the ledger is not yet told of


def truth_command(plan: "CrowdPlan", targets: list[str], receive: int | None, *, as_json: bool) -> int:
    """Run the plan and print the report.

    Returns:
        0; 1 when two of them differ or nobody can tell; 128 plus the signal's number when interrupted, whatever the
        rows so far say.
    """
    caught: list[signal.Signals] = []
    try:
        report, rows, others = asyncio.run(_run(plan, targets or [f"{plan.base_url}/metrics"], receive, caught))
    except asyncio.CancelledError:
        return complain("interrupted", 128 + caught[-1])
    wrong = [row for row in rows if not row.agrees]
    if others:
        complain(
            f"{others} of the requests that the service counted were not this crowd's: somebody else "
            "shops there (start it with CROWD=0), or two targets are one",
            1,
        )
    if report.unknown:
        complain(
            f"{report.unknown} orders had no answer and could not be asked for: --idempotency 1 gives each a key, "
            "and the service must answer in the end",
            1,
        )
    (_report_json if as_json else _report)(report, rows, interrupted=bool(caught))
    if caught:
        return complain(f"interrupted by {caught[0].name}; these are the figures so far", 128 + caught[0])
    return 1 if wrong else 0


def _report_json(report: "CrowdReport", rows: "list[Row]", *, interrupted: bool) -> None:
    table = [{"what": r.what, **_figures(r), "agrees": r.agrees, "explained": r.explained} for r in rows]
    true = not interrupted and all(row.agrees for row in rows)
    told = {"true": true, "interrupted": interrupted, "requests": report.requests, "rows": table}
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


def _report(report: "CrowdReport", rows: "list[Row]", *, interrupted: bool) -> None:
    columns = {name: [name] for name in _figures(rows[0])}
    for row in rows:
        for name, figure in _figures(row).items():
            columns[name].append("-" if figure is None else str(figure))
    widths = [max(map(len, cells)) + 2 for cells in columns.values()]
    labels = ["", *(row.what for row in rows)]
    label = max(map(len, labels))
    marks = ["", *("" if row.agrees else " UNPROVEN" if row.explained else " DIFFERS" for row in rows)]
    for what, mark, *cells in zip(labels, marks, *columns.values(), strict=True):
        figures = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        write_line(f"{what:<{label}}{figures}{mark}")
    end = " (interrupted)" if interrupted else ""
    write_line("")
    write_line(f"{report.requests} requests, {report.orders} orders, seed {report.seed}{end}: {_conclusion(rows)}")


def _conclusion(rows: "list[Row]") -> str:
    unproven = sum(row.explained for row in rows)
    wrong = sum(not row.agrees for row in rows) - unproven
    if wrong:
        return f"{wrong} rows differ"
    return f"{unproven} rows unproven, for want of answers" if unproven else "all agree"


def _figures(row: "Row") -> dict[str, int | None]:
    return {"clients": row.clients, "ledger": row.ledger, "metrics": row.metrics, "spans": row.spans}


async def _run(
    plan: "CrowdPlan", targets: list[str], receive: int | None, caught: "list[signal.Signals]"
) -> "tuple[CrowdReport, list[Row], int]":
    from service.crowd import CrowdError, run_crowd
    from service.crowd.interruption import cancelled_by_signals
    from service.crowd.view import progress
    from service.processes.fleet import store_of
    from service.processes.startup import open_shards
    from service.settings import Settings
    from service.store import StoreUnusedError
    from service.truth import MetricSources, SpanReceiver, TargetError, scrape
    from telemetry import configure_logging

    settings = Settings.from_env(os.environ)
    configure_logging(level="ERROR", stream=sys.stderr, json=settings.log_format == "json")
    async with AsyncExitStack() as stack:
        stack.enter_context(cancelled_by_signals(caught))
        spans = await stack.enter_async_context(SpanReceiver(receive)) if receive is not None else None
        url, store = store_of(settings, stack.enter_context(ExitStack()))
        if store is not None:
            raise OperatorError(
                f"nothing runs on the store in DATA_DIR={settings.data_dir}: "
                "set DATA_DIR or REDIS_URL as the service that is asked has it"
            )
        try:
            await scrape(targets)
            opened = open_shards(settings, url, name="flash-sale-truth", wait_seconds=0, create=False)
            sources = MetricSources(await stack.enter_async_context(opened), targets)
            before = await sources.read()
            plan = plan.model_copy(update={"ask_again": timedelta(seconds=ASK_AGAIN_SECONDS)})
            with progress(sys.stderr) as show:
                report = await run_crowd(plan, show)
            rows, others = await _agreed(report, sources, before, spans)
        except StoreUnusedError:
            raise not_there(settings) from None
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
    last: list[Row] = []
    changed = 0.0
    while True:
        now = await sources.read()
        figures = now.since(before)
        rows = compare(report, figures, spans)
        others = max(figures.metric_requests.total() - report.requests, 0)
        changed = loop.time() if rows != last else changed
        last, told = rows, loop.time() - changed >= (SECOND_LOOK_SECONDS if report.errors else 0)
        if others or (now.queue_length == 0 and told and all(row.agrees or row.explained for row in rows)):
            return rows, others
        if shortest < 0 or now.queue_length < shortest:  # the queue still moves
            shortest, end = now.queue_length, loop.time() + TIMEOUT_SECONDS
        if loop.time() > end:
            return rows, others
        await asyncio.sleep(POLL_SECONDS)
