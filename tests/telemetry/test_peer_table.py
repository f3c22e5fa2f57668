"""The table of checks names tests that exist, and counts to as many as there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "telemetry-checks.md"
CHECKS = 57


def test_every_test_that_is_named_exists() -> None:
    """In the tests of the telemetry."""
    there = {
        name
        for file in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    named = set(re.findall(r"`(test_\w+)`", TABLE.read_text()))
    assert named - there == set()
    assert len(named) > 30


def test_no_number_is_missing() -> None:
    """From one to the last."""
    numbers: list[int] = []
    for first, last in re.findall(r"^\| (\d+)(?:-(\d+))? \|", TABLE.read_text(), re.MULTILINE):
        numbers += range(int(first), int(last or first) + 1)
    assert numbers == list(range(1, CHECKS + 1))


def test_every_test_of_the_checks_is_named() -> None:
    """One that is added is added to the table."""
    table = TABLE.read_text()
    for name in ("test_peer_metrics.py", "test_peer_spans.py"):
        for test in re.findall(r"def (test_\w+)", (Path(__file__).parent / name).read_text()):
            assert f"`{test}`" in table, test
