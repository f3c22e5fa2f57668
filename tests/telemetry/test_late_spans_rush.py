"""1 000 requests a second and a budget of 100: about 100 whole traces a second, and every error."""

import random
import secrets
from collections import Counter, defaultdict

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from telemetry.http.late_spans import MARK
from telemetry.settings import INTERCEPTORS
from tests.support import Program, free_port
from tests.telemetry.collector import Collector
from tests.telemetry.rush import Crowd, rush

PER_SECOND = 1000
BUDGET = 100
SECONDS = 4
ERRORS = 50


def planted(source: random.Random) -> list[str]:
    """Return the paths that a crowd asks for, with fifty defects among them."""
    broken = set(source.sample(range(PER_SECOND * SECONDS), ERRORS))
    return [f"/items/{'broken' if number in broken else 'good'}-{number}" for number in range(PER_SECOND * SECONDS)]


async def served(interceptor: str, paths: list[str]) -> tuple[Crowd, list[Span]]:
    """Let a crowd rush a service; return what it got, and what arrived at the collector."""
    port = free_port()
    with Collector() as collector:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_LOGS_EXPORTER": "none",
            "TELEMETRY_INTERCEPTOR": interceptor,
            "TELEMETRY_TRACES_PER_SECOND": str(BUDGET),
            "TELEMETRY_SLOW_SECONDS": "60",  # a busy machine is not what is tested here
        }
        with Program.python("-m", "tests.telemetry.rush", str(port), env=env) as program:
            program.wait_for_line("Uvicorn running")
            crowd = await rush(port, paths, PER_SECOND)
            program.terminate(20)
        return crowd, collector.spans()


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
async def test_a_rush_is_sampled_and_its_errors_are_not(interceptor: str) -> None:
    """The rate of whole traces is the budget's, and each planted error left its server span."""
    seed = secrets.randbelow(2**32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    paths = planted(random.Random(seed))
    crowd, spans = await served(interceptor, paths)
    assert len(crowd.traces) == len(paths)

    traces: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        traces[span.trace_id.hex()].append(span)
    afterwards = {trace for trace, found in traces.items() if any(a.key == MARK for a in found[0].attributes)}

    errors = {crowd.traces[path] for path in paths if "broken" in path}
    assert len(errors) == ERRORS
    assert errors <= traces.keys()
    for trace in errors:
        (server,) = [span for span in traces[trace] if span.kind == Span.SPAN_KIND_SERVER]
        assert (server.name, server.status.code) == ("GET /items/{item}", 2)
        assert [event.name for event in server.events] == ["exception"]
    assert afterwards <= errors

    recorded = traces.keys() - afterwards
    for trace in recorded:
        assert {(span.name, span.kind) for span in traces[trace]} == {
            ("GET /items/{item}", Span.SPAN_KIND_SERVER),
            ("EVALSHA place", Span.SPAN_KIND_CLIENT),
        }
    by_second = Counter(int(traces[trace][0].start_time_unix_nano // 1e9) for trace in recorded)
    print(f"{crowd.rate:.0f} requests a second, traces in each: {by_second}")  # noqa: T201 - as above
    whole_seconds = [by_second[second] for second in sorted(by_second)[1:-1]]
    assert crowd.rate > 2 * BUDGET, "this machine is too busy to rush anything"
    assert 0.6 * BUDGET < sum(whole_seconds) / len(whole_seconds) < 1.35 * BUDGET
