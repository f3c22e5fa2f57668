"""Simulated shoppers against a running service, over HTTP only; they know nothing of its store.

`run_crowd` carries out a `CrowdPlan` and returns a `CrowdReport` whose figures are exact, to the integer;
`watch_orders` follows what was accepted; `run_demo_crowd` shops for ever. `service.crowd.command` puts a
progress bar and a summary around them for the command line.
"""

from service.crowd.demo import run_demo_crowd
from service.crowd.engine import CrowdError, run_crowd, wait_until_ready
from service.crowd.plan import CrowdPlan
from service.crowd.report import CrowdReport, Progress, SettleReport
from service.crowd.watch import watch_orders

__all__ = [
    "CrowdError",
    "CrowdPlan",
    "CrowdReport",
    "Progress",
    "SettleReport",
    "run_crowd",
    "run_demo_crowd",
    "wait_until_ready",
    "watch_orders",
]
