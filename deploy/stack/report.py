"""What a running stack says of itself: every target, and whether the trace of every exemplar is in Jaeger."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

HISTOGRAMS: Final = (
    "http_server_request_duration_seconds_bucket",
    "flash_sale_order_wait_seconds_bucket",
    "flash_sale_order_processing_seconds_bucket",
)
SETTLED_SECONDS: Final = 15
"""A span reaches Jaeger within two batches: 5 s in the service, half a second in the collector."""
LOOK_BACK_SECONDS: Final = 60
"""Jaeger keeps the last traces in memory, a minute of them at any load."""
ENOUGH: Final = 0.99


def report(urls: Mapping[str, str]) -> tuple[list[str], bool]:
    """Returns the lines of the table, and whether all is well.

    Raises:
        URLError: Prometheus does not answer.
    """
    targets = _get(f"{urls['prometheus']}/api/v1/targets")["data"]["activeTargets"]
    lines = [f"{'target':24}{'job':18}{'health':8}scrape ms"]
    for target in targets:
        labels, milliseconds = target["labels"], target["lastScrapeDuration"] * 1000
        lines.append(f"{labels['instance']:24}{labels['job']:18}{target['health']:8}{milliseconds:.1f}")
    good = all(target["health"] == "up" for target in targets)
    lines += ["", f"{'exemplars of':52}{'traces':>8}{'in Jaeger':>11}"]
    for histogram in HISTOGRAMS:
        traces = set(_exemplars(urls["prometheus"], histogram))
        found = sum(_known(urls["jaeger"], trace) for trace in traces)
        lines.append(f"{histogram:52}{len(traces):8}{found:11}")
        good = good and found >= ENOUGH * len(traces)
    return lines, good


def _exemplars(prometheus: str, histogram: str) -> Iterator[str]:
    end = time.time() - SETTLED_SECONDS
    query = urlencode({"query": histogram, "start": end - LOOK_BACK_SECONDS, "end": end})
    for series in _get(f"{prometheus}/api/v1/query_exemplars?{query}")["data"]:
        for exemplar in series["exemplars"]:
            yield exemplar["labels"]["trace_id"]


def _known(jaeger: str, trace: str) -> bool:
    try:
        return bool(_get(f"{jaeger}/api/traces/{trace}")["data"])
    except URLError:
        return False


def _get(url: str) -> Any:  # noqa: ANN401 - JSON has any type
    with urlopen(url, timeout=10) as answer:  # noqa: S310 - http, to loopback
        return json.load(answer)
