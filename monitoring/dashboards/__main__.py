"""`python -m monitoring.dashboards`: write the dashboards, or ask a Prometheus every query of every panel."""

import argparse
import sys

from monitoring.dashboards.check import check
from monitoring.dashboards.files import write, write_packaged


def main() -> int:
    """Run a command; the status is 1 when a query found nothing."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.dashboards", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "make", help="write monitoring/grafana/dashboards/*.json and telemetry/monitoring/requests.json"
    )
    asked = commands.add_parser("check", help="print a table of every panel's queries with their values")
    asked.add_argument("--prometheus", default="http://localhost:9090", help="its URL (default: %(default)s)")
    asked.add_argument("--minutes", type=float, default=15, help="how far to look back (default: %(default)s)")
    asked.add_argument("--jaeger", help="its URL: look every exemplar's trace up there, too")
    given = parser.parse_args()
    if given.command == "make":
        for path in (*write(), write_packaged()):
            sys.stdout.write(f"{path}\n")
        return 0
    return check(given.prometheus, minutes=given.minutes, jaeger=given.jaeger)


if __name__ == "__main__":
    sys.exit(main())
