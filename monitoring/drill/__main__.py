"""`python -m monitoring.drill [ALERT]...` breaks the stack and prints what each alert made of it: `make drill`."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from monitoring.drill.drill_stack import SCALE, open_drill_stack
from monitoring.drill.run import Row, drill, quiet
from monitoring.drill.scenarios import SCENARIOS
from monitoring.drill.watch import Watch

HEAD = f"{'alert':27} {'fires after':>11} {'ends after':>11}  fault"


def line(row: Row) -> str:
    """Return a row of the table."""
    seconds = [f"{value:.1f} s" if value is not None else "never" for value in (row.to_fire, row.to_end)]
    wrong = "" if row.notified or row.to_fire is None else "  NOT TOLD to Alertmanager"
    wrong += f"  UNRELATED: {', '.join(row.unrelated)}" if row.unrelated else ""
    return f"{row.alert:27} {seconds[0]:>11} {seconds[1]:>11}  {row.fault}{wrong}"


def run(directory: Path, alerts: Sequence[str] = (), scale: float = SCALE) -> tuple[list[str], list[Row]]:
    """Drill on a stack of its own; return what fired before anything was broken, and the rows."""
    chosen = [s for s in SCENARIOS if not alerts or any(a.partition(" ")[0] in alerts for a in s.alerts)]
    with open_drill_stack(directory, scale) as drilled:
        watch = Watch(drilled.stack.url("prometheus"), drilled.stack.url("alertmanager"), drilled.receiver)
        watch.start()
        try:
            loud = quiet(drilled, watch)
            _say(f"without a fault: {', '.join(loud) or 'nothing fires'}\n\n{HEAD}")
            return loud, drill(drilled, watch, chosen, lambda row: _say(line(row)))
        finally:
            watch.stop()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Print the table; status 1 when a row is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.drill", description="See every alert fire.")
    parser.add_argument("alerts", nargs="*", help="only the scenarios of these")
    parser.add_argument("--scale", type=float, default=SCALE, help="of the durations of the rules (%(default)s)")
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fs-drill-") as directory:
        loud, rows = run(Path(directory), given.alerts, given.scale)
    passed = sum(row.passed for row in rows)
    _say(f"\n{passed} of {len(rows)} as they should be, in {time.monotonic() - begun:.0f} s at scale {given.scale:g}")
    return 0 if passed == len(rows) and not loud else 1


if __name__ == "__main__":
    sys.exit(main())
