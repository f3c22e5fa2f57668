"""What reading a header may cost: any header, filled with what parsers stumble over, as long as a header may be."""

import os
from pathlib import Path

import pytest

from telemetry.prometheus.content_negotiation import Format, negotiate
from tests.security.wire import LAST, request, statuses
from tests.support.service import Fleet

CPU_SECONDS = 0.006
"""Of one request: the plain one takes 0.0005 to 0.003, with the scrape's text."""

FILLERS = (",", ";", "a,", "a;", '"', '\\"', "a;q=", "=", "%", "a=b,", "a=b;", " ,", "00-", "*/*;q=0,", "=?utf-8?q?a?=")
HEADERS = (
    *(
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "Authorization",
        "Baggage",
        "Cache-Control",
        "Connection",
        "Cookie",
    ),
    *("Content-Type", "Forwarded", "If-Match", "If-None-Match", "Idempotency-Key", "Origin", "Range", "Referer"),
    *("TE", "Traceparent", "Tracestate", "Upgrade", "User-Agent", "X-Forwarded-For", "Sec-WebSocket-Protocol", "Via"),
)
PATHS = ("/metrics", "/orders?user_id=ada", "/monitoring/metrics")
LENGTH = 8_000


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost(fleet: Fleet, *shapes: bytes) -> float:
    """Return the processor time of each of several requests, which are all answered."""
    before = cpu_seconds(fleet.pid("api-0"))
    assert len(statuses(fleet.url, b"".join(shapes) + LAST)) == len(shapes) + 1
    return (cpu_seconds(fleet.pid("api-0")) - before) / len(shapes)


@pytest.mark.parametrize("name", HEADERS)
def test_no_header_costs_more_than_a_request(fleet: Fleet, name: str) -> None:
    fields = [f"{name}: {(filler * LENGTH)[:LENGTH]}" for filler in FILLERS]
    for path in PATHS:
        shapes = [request(f"GET {path} HTTP/1.1", field) for field in fields]
        assert cost(fleet, *shapes) < CPU_SECONDS + plain(fleet, path), f"{name} at {path}"


def plain(fleet: Fleet, path: str) -> float:
    """Return the processor time of the request without the header."""
    return cost(fleet, *[request(f"GET {path} HTTP/1.1")] * len(FILLERS))


@pytest.mark.parametrize("filler", ["a=b&", "&", "=", "%", "user_id=a&", "%41", ";", "limit=1&"])
def test_no_query_costs_more_than_a_request(fleet: Fleet, filler: str) -> None:
    query = (filler * 7_900)[:7_900]
    shapes = [request(f"GET {path}?{query} HTTP/1.1") for path in ("/orders", "/metrics", "/orders/queue")] * 5
    assert cost(fleet, *shapes) < CPU_SECONDS + plain(fleet, "/metrics")


@pytest.mark.parametrize("filler", FILLERS)
def test_the_library_bounds_what_it_reads_by_itself(filler: str) -> None:
    """Behind another server a header may be a megabyte."""
    began = os.times().user
    for _ in range(10):
        assert negotiate("application/openmetrics-text," + filler * 1_000_000) is Format.TEXT
    assert os.times().user - began < 1
