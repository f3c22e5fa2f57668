"""The command line of a crowd: its result on stdout, its end by a signal or a closed pipe."""

import asyncio
import json
import signal
import socket
import sys
from io import StringIO

import pytest

from service.crowd import CrowdPlan, Progress, run_crowd
from service.crowd.view import progress, write_summary
from tests.fundamentals.scripted_service import Script, plan_for, serve
from tests.support import Program, wait_until
from tests.support.processes import run


async def test_summary_has_every_figure_in_plain_lines() -> None:
    """Away from a terminal the summary is lines that grep can read."""
    script = Script(lambda number: 202 if number % 2 else 409)
    async with serve(script) as url:
        report = await run_crowd(plan_for(url))
    text = StringIO()
    write_summary(report, text)
    lines = text.getvalue().splitlines()
    assert f"answer 202           {script.accepted} accepted" in lines
    assert f"answer 409           {script.statuses[409]} sold_out" in lines
    assert f"seed, run            {report.seed}, {report.run_id}" in lines


def test_progress_away_from_a_terminal_is_a_line_every_five_seconds() -> None:
    """With the rate since the line before."""
    text = StringIO()
    with progress(text) as show:
        for seconds, orders in ((1, 10), (5, 100), (9.9, 280), (10, 300), (15, 300)):
            show(Progress(seconds=seconds, fraction=None, orders=orders, accepted=1, refused=2, errors=3))
    assert text.getvalue().splitlines() == [
        "    5.0 s  20 orders/s, 100 sent, 1 accepted, 2 refused, 3 errors",
        "   10.0 s  40 orders/s, 300 sent, 1 accepted, 2 refused, 3 errors",
        "   15.0 s  0 orders/s, 300 sent, 1 accepted, 2 refused, 3 errors",
    ]


COMMAND = """
import sys
from datetime import timedelta
from service.crowd.command import crowd_command
from service.crowd.plan import CrowdPlan
plan = CrowdPlan.model_validate_json(sys.argv[1])
sys.exit(crowd_command(plan, as_json="--json" in sys.argv, watch=5 if "--watch" in sys.argv else 0))
"""


def command(plan: CrowdPlan, *flags: str) -> list[str]:
    """Return the arguments of an interpreter that runs the plan."""
    return ["-c", COMMAND, plan.model_dump_json(), *flags]


async def test_command_prints_json_and_nothing_else() -> None:
    """The JSON of a run is the whole of stdout and has the figures of the service."""
    script = Script()
    async with serve(script) as url:
        arguments = command(plan_for(url), "--json", "--watch")
        done = await asyncio.to_thread(run, [sys.executable, *arguments])
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["accepted"] == script.accepted == 500
    assert report["settling"]["settled"] == {"confirmed": 5}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_command_still_gives_the_summary(number: signal.Signals) -> None:
    """A signal ends the run with one clear line, the figures so far and the usual status."""
    script = Script()
    async with serve(script) as url:
        with Program.python(*command(plan_for(url, orders=None, rate=200))) as program:
            await wait_until(lambda: script.accepted >= 20, 15)
            status = await asyncio.to_thread(program.signal, number)
            output = program.output
    assert status == 128 + number
    assert f"flash-sale crowd: interrupted by {number.name}; these are the figures so far" in output
    assert f"answer 202           {script.accepted} accepted" in output
    assert "Traceback" not in output


async def test_closed_pipe_ends_quietly() -> None:
    """Nobody reading stdout is no reason for a traceback."""
    script = Script()
    async with serve(script) as url:
        here, there = socket.socketpair()
        here.close()
        with there:
            done = await asyncio.to_thread(run, [sys.executable, *command(plan_for(url))], stdout=there.fileno())
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
