"""What the Prometheus of a running stack says of its targets."""

import json
from urllib.request import urlopen


def targets(prometheus: str) -> tuple[list[str], bool]:
    """Return the lines of a table, and whether all targets are up.

    Raises:
        URLError: Prometheus does not answer.
    """
    with urlopen(f"{prometheus}/api/v1/targets", timeout=10) as answer:  # noqa: S310 - http, to loopback
        found = json.load(answer)["data"]["activeTargets"]
    lines = [f"{'target':24}{'job':18}{'health':8}scrape ms"]
    for target in found:
        labels, milliseconds = target["labels"], target["lastScrapeDuration"] * 1000
        lines.append(f"{labels['instance']:24}{labels['job']:18}{target['health']:8}{milliseconds:.1f}")
    return lines, all(target["health"] == "up" for target in found)
