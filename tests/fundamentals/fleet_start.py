"""What the start of `flash-sale api` costs, and what its processes weigh and do at rest (Linux only).

.venv/bin/python -m tests.fundamentals.fleet_start [PROCESSES] [--json]
"""

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

from tests.support import RedisServer
from tests.support.processes import descendants
from tests.support.service import Fleet

REST_SECONDS = 20
SETTLE_SECONDS = 3
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int, *, ended_children: bool = False) -> float:
    """Return the CPU time that a process has taken, with that of its children that have ended if asked for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if ended_children else 13])) / TICKS


def pss_mib(pid: int) -> float:
    """Return the memory of a process, of what is shared its part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure(processes: int) -> dict[str, float]:
    """Start a fleet beside a store that runs, and return what it took, by names that carry the units."""
    with RedisServer("valkey") as store, store.sync_client() as client:
        begun = time.monotonic()
        with Fleet(store.url, command="api", api=processes, workers=0, wait=False) as fleet:
            roles = [fleet.pid(f"api-{n}") for n in range(processes)]
            while fleet.log.count("Application startup complete") < processes:
                time.sleep(0.01)
            fleet.wait_until_ready()
            wall = time.monotonic() - begun
            everybody = [fleet.program.pid, *descendants(fleet.program.pid)]
            cpu = sum(cpu_seconds(pid, ended_children=True) for pid in everybody)
            time.sleep(SETTLE_SECONDS)
            before = [cpu_seconds(pid) for pid in roles]
            commands = client.info("stats")["total_commands_processed"]
            time.sleep(REST_SECONDS)
            commands = client.info("stats")["total_commands_processed"] - commands
            idle = [100 * (cpu_seconds(pid) - then) / REST_SECONDS for pid, then in zip(roles, before, strict=True)]
            weights = [pss_mib(pid) for pid in roles]
    return {
        "ready_seconds": wall,
        "start_cpu_seconds": cpu,
        "pss_mib": median(weights),
        "most_pss_mib": max(weights),
        "idle_percent": median(idle),
        "commands_per_second": commands / REST_SECONDS,
    }


def main(processes: int, *, as_json: bool) -> None:
    """Say what a fleet takes."""
    found = measure(processes)
    words = (
        f"{processes} API processes: ready after {found['ready_seconds']:.2f} s and {found['start_cpu_seconds']:.2f} s "
        f"of CPU (all processes); at rest each {found['pss_mib']:.1f} MiB PSS (at most {found['most_pss_mib']:.1f}) "
        f"and {found['idle_percent']:.2f} % of a core; the store {found['commands_per_second']:.0f} commands a second "
        f"for all; load {os.getloadavg()[0]:.1f}"
    )
    print(json.dumps(found) if as_json else words)  # noqa: T201 - what it is run for


if __name__ == "__main__":
    numbers = [argument for argument in sys.argv[1:] if argument.isdecimal()]
    main(int(numbers[0]) if numbers else 16, as_json="--json" in sys.argv)
