"""Spans leave by OTLP: all of them when the collector is up, none of our time when it is not."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from telemetry import Telemetry, TelemetrySettings
from telemetry.settings import INTERCEPTORS, BatchSettings, OtlpSettings
from tests.support import Program, eventually, free_port
from tests.support.http import http_session
from tests.support.processes import run
from tests.telemetry.collector import Collector

ENDED_BY_SIGTERM = -signal.SIGTERM


def exporting(endpoint: str, **batch: int) -> TelemetrySettings:
    """Return settings that record every trace and send it to a collector."""
    return TelemetrySettings(
        service_name="shop",
        worker="api-0",
        sampler="parentbased_always_on",
        otlp=OtlpSettings(traces_endpoint=f"{endpoint}/v1/traces", headers={"x-tenant": "a"}),
        batch=BatchSettings(**batch),
    )


def make_spans(telemetry: Telemetry, count: int) -> None:
    """Begin and end this many root spans."""
    tracer = telemetry.tracer("test")
    for number in range(count):
        tracer.start_span(f"span {number}").end()


def value(telemetry: Telemetry, series: str, *labels: str) -> float:
    """Return the sum of the series whose lines begin so and hold these labels."""
    lines = telemetry.exposition()[0].decode().splitlines()
    found = [line for line in lines if line.startswith(series) and all(label in line for label in labels)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


@contextlib.contextmanager
def shop(endpoint: str, interceptor: str = "contrib") -> Iterator[tuple[Program, httpx.Client]]:
    """Run the service as a program that exports to an endpoint."""
    port = free_port()
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "TELEMETRY_INTERCEPTOR": interceptor,
        "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        "OTEL_BSP_SCHEDULE_DELAY": "60000",  # only the shutdown may export
    }
    with (
        Program.python("-m", "tests.telemetry.shop", str(port), env=environ) as program,
        http_session(f"http://127.0.0.1:{port}") as client,
    ):
        program.wait_for_line("Uvicorn running")
        yield program, client


def terminate(program: Program) -> float:
    """Send SIGTERM; return the seconds until the process ended."""
    begun = time.monotonic()
    assert program.terminate(20) == ENDED_BY_SIGTERM, program.output
    return time.monotonic() - begun


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
def test_sigterm_loses_no_span_while_the_collector_is_up(interceptor: str) -> None:
    """All 300 spans wait in the queue when SIGTERM comes; all 300 arrive."""
    with Collector() as collector, shop(collector.endpoint, interceptor) as (program, client):
        for number in range(300):
            client.get(f"/items/{number}")
        assert collector.spans() == []
        terminate(program)
        assert len(collector.spans()) == 300
        resource = collector.resource()
        assert (resource["service.name"], resource["service.version"]) == ("shop", "1.0")
        assert resource["worker"] == "api-0"


@pytest.mark.parametrize("mode", ["hang", "refuse", "down"])
def test_sigterm_ends_the_process_within_five_seconds_whatever_the_collector_does(mode: str) -> None:
    """A collector that hangs, refuses or is not there delays neither requests nor the end."""
    with Collector("refuse" if mode == "refuse" else "hang") as collector:
        endpoint = f"http://127.0.0.1:{free_port()}" if mode == "down" else collector.endpoint
        with shop(endpoint) as (program, client):
            for number in range(20):
                assert client.get(f"/items/{number}").status_code == 200
            assert terminate(program) < 5


def test_spans_and_headers_arrive_and_are_counted() -> None:
    """Leaving the context manager sends what is left, with the headers asked for."""
    with Collector() as collector:
        telemetry = Telemetry(exporting(collector.endpoint), set_global=False)
        with telemetry:
            make_spans(telemetry, 5)
            assert value(telemetry, "otel_sdk_span_started_total", "RECORD_AND_SAMPLE") == 5
        assert [span.name for span in collector.spans()] == [f"span {number}" for number in range(5)]
        assert collector.headers[0]["x-tenant"] == "a"


def test_a_hanging_collector_costs_the_deadline_and_no_more() -> None:
    """`shutdown` returns at its deadline and says that something is left."""
    with Collector("hang") as collector:
        telemetry = Telemetry(exporting(collector.endpoint), set_global=False)
        telemetry.start()
        make_spans(telemetry, 10)
        begun = time.monotonic()
        drained = telemetry.shutdown(timeout=0.5)
        assert time.monotonic() - begun < 1.5
        assert not drained
        assert telemetry.shutdown() is True  # a second call has nothing to do
    eventually(lambda: not _exporting(), 15, "the abandoned export has ended")


def test_with_a_hanging_collector_memory_is_bounded_and_drops_are_counted() -> None:
    """The queue keeps its 16 newest spans; each of the others is counted at `/metrics`."""
    with Collector("hang") as collector:
        settings = exporting(collector.endpoint, max_queue_size=16, max_export_batch_size=8, schedule_delay_millis=10)
        telemetry = Telemetry(settings, set_global=False)
        telemetry.start()
        make_spans(telemetry, 8)
        eventually(lambda: collector.headers, 5, "the first batch hangs at the collector")
        begun = time.monotonic()
        make_spans(telemetry, 500)
        assert time.monotonic() - begun < 1  # nobody waits for the collector
        dropped = value(telemetry, "otel_sdk_processor_span_processed_total", 'error_type="queue_full"')
        assert dropped == 500 - 16
        assert value(telemetry, "otel_sdk_processor_span_queue_size") == 16
        telemetry.shutdown(timeout=0.1)
    eventually(lambda: not _exporting(), 15, "the abandoned export has ended")


def test_a_program_that_forgets_the_shutdown_still_ends() -> None:
    """Nothing waits in `atexit` for a collector that hangs."""
    program = """
import os
from telemetry import Telemetry, TelemetrySettings
telemetry = Telemetry(TelemetrySettings.from_env(os.environ, service_name="a", service_version="1", worker="a-0"))
telemetry.start()
telemetry.tracer("a").start_span("a").end()
print("made", flush=True)
"""
    with Collector("hang") as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        with Program.python("-c", program, env=environ) as running:
            running.wait_for_line("made")
            assert running.process.wait(5) == 0


def test_the_last_spans_are_sent_where_no_thread_can_be_started() -> None:
    """As at the exit of Python 3.12.0 and 3.12.1; here no memory is left for a thread's stack."""
    program = """
import os, threading
from telemetry import Telemetry, TelemetrySettings
telemetry = Telemetry(TelemetrySettings.from_env(os.environ, service_name="a", service_version="1", worker="a-0"))
telemetry.start()
telemetry.tracer("a").start_span("last").end()
threading.stack_size(1 << 46)
try:
    threading.Thread(target=print).start()
except RuntimeError:
    print(telemetry.shutdown(), flush=True)
"""
    with Collector() as collector:
        done = run([sys.executable, "-c", program], env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint})
        assert done.stdout == "True\n", done.stderr
        assert [span.name for span in collector.spans()] == ["last"]


def test_a_refusing_collector_is_counted() -> None:
    """A 503 is tried again until the deadline, and nothing is taken for delivered."""
    with Collector("refuse") as collector:
        settings = exporting(collector.endpoint)
        telemetry = Telemetry(settings, set_global=False)
        telemetry.start()
        make_spans(telemetry, 3)
        telemetry.shutdown(timeout=0.2)
        assert collector.requests == []
        assert len(collector.headers) >= 1


def test_without_an_endpoint_no_span_is_recorded_and_trace_ids_exist() -> None:
    """With nowhere to send spans none is made, but logs and answers still have a trace id."""
    telemetry = Telemetry(TelemetrySettings(service_name="shop"), set_global=False)
    with telemetry, telemetry.tracer("test").start_as_current_span("work") as span:
        assert not span.is_recording()
        assert span.get_span_context().is_valid


def _exporting() -> bool:
    return any(thread.name.startswith(("telemetry-drain", "OtelBatch")) for thread in threading.enumerate())
