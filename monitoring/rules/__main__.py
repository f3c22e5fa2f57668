"""`python -m monitoring.rules [--out DIRECTORY] [--scale 0.1]` writes the rule files: `make rules`."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import yaml

from monitoring.rules.alerts import alert_groups
from monitoring.rules.model import Group, Timescale
from monitoring.rules.objectives import Promises, objective_groups
from monitoring.rules.recording import recording_groups
from monitoring.rules.runbook import page

HOME = Path(__file__).parents[1] / "prometheus" / "rules"
PAGE = HOME.parent / "user" / "runbook.html"
DOCUMENT = Path(__file__).parents[2] / "docs" / "runbook.md"
HEAD = "# Made by `make rules` from monitoring/rules/ and monitoring/slo.yaml: change those.\n"


class _Dumper(yaml.SafeDumper):
    """Writes what has several lines as a block."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def rule_files(t: Timescale) -> dict[str, str]:
    """Return the rule files: name and content."""
    promises = Promises.read()
    return {
        "recording.yml": _file(recording_groups(t)),
        "alerts.yml": _file(alert_groups(t)),
        "objectives.yml": _file(objective_groups(promises, t)),
    }


def _file(groups: Iterable[Group]) -> str:
    content = {"groups": [group.group() for group in groups]}
    return HEAD + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.rules", description="Write the rules of Prometheus.")
    parser.add_argument("--out", type=Path, default=HOME, help="where to")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1: every duration is a tenth, for tests")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name, content in rule_files(Timescale(given.scale)).items():
        (given.out / name).write_text(content)
    if given.out == HOME:
        PAGE.write_text(page(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
