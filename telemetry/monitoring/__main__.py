"""Copies the dashboard and the alerts into a directory."""

import argparse
import sys
from importlib.resources import files
from pathlib import Path

NAMES = ("requests.json", "alerts.yaml")


def main() -> None:
    """Copy them, and print where they are."""
    parser = argparse.ArgumentParser(prog="python -m truemeter.monitoring", description=__doc__)
    parser.add_argument("directory", type=Path, help="where they go; made if it is not there")
    directory: Path = parser.parse_args().directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            target = directory / name
            target.write_text(files(__package__).joinpath(name).read_text())
            sys.stdout.write(f"{target}\n")
    except OSError as error:
        parser.exit(1, f"{parser.prog}: cannot write into {directory}: {error.strerror or error}\n")


if __name__ == "__main__":
    main()
