"""What `flash-sale crowd` does: a run with its progress on stderr and its result on stdout.

The first SIGINT or SIGTERM ends the run and still gives the summary so far. Exit status: 0; 1 when the crowd
could not start, or when it caught the service in an error (two orders for one key, an accepted order that is
gone); 128 plus the signal's number when interrupted, or when nobody reads what it says (SIGPIPE).
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from typing import TextIO

import uvloop

from service.crowd.engine import CrowdError, run_crowd
from service.crowd.interruption import cancelled_by_signals
from service.crowd.plan import CrowdPlan
from service.crowd.report import CrowdReport
from service.crowd.view import progress, write_json, write_summary
from service.crowd.watch import watch_orders


def crowd_command(
    plan: CrowdPlan, *, as_json: bool = False, watch: int = 0, watch_for: timedelta = timedelta(seconds=30)
) -> int:
    """Run the plan, then follow at most `watch` of the accepted orders; return the exit status."""
    caught: list[signal.Signals] = []
    try:
        report = uvloop.run(_run(plan, watch, watch_for, caught))
    except CrowdError as error:
        return _complain(str(error), 1)
    except asyncio.CancelledError:
        return _complain("stopped", 128 + caught[-1])
    except BrokenPipeError:  # stderr was closed: there is nobody left to tell
        _mute(sys.stdout, sys.stderr)
        return 128 + signal.SIGPIPE
    try:
        (write_json if as_json else write_summary)(report, sys.stdout)
    except BrokenPipeError:
        _mute(sys.stdout)
        return 128 + signal.SIGPIPE
    if caught:
        return _complain(f"interrupted by {caught[0].name}; these are the figures so far", 128 + caught[0])
    missing = report.settling.missing if report.settling else 0
    return 1 if report.idempotency_violations or missing else 0


async def _run(plan: CrowdPlan, watch: int, watch_for: timedelta, caught: list[signal.Signals]) -> CrowdReport:
    with cancelled_by_signals(caught):
        with progress(sys.stderr) as show:
            report = await run_crowd(plan, show)
        if not watch or report.interrupted:
            return report
        try:
            settling = await watch_orders(plan, report, limit=watch, deadline=watch_for)
        except asyncio.CancelledError:
            return report.model_copy(update={"interrupted": True})
    return report.model_copy(update={"settling": settling})


def _mute(*streams: TextIO) -> None:
    """Lead closed pipes nowhere, or what is left in their buffers raises once more at exit."""
    for stream in streams:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"flash-sale crowd: {message}\n")
    return status
