"""Log lines by OTLP: the collector gets what the stream gets, and the service never feels it."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
import structlog
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from telemetry import TelemetrySettings, configure_logging
from telemetry.export.shutdown import Pipeline, drain
from telemetry.logs import sink
from telemetry.logs.handler import MAX_ALIKE_PER_SECOND
from telemetry.logs.otlp import OtlpLogSink
from telemetry.settings import BatchSettings, OtlpLogSettings
from telemetry.testing import capture
from tests.support import Program, eventually
from tests.telemetry.collector import Collector


class Lines:
    """A sink for log lines, and the stream that has them too."""

    def __init__(self, collector: Collector, **batch: int) -> None:
        """Make it; nothing is sent yet."""
        self.stream = StringIO()
        self.reader = InMemoryMetricReader()
        self.failures: list[str] = []
        self.sink = OtlpLogSink(
            OtlpLogSettings(logs_endpoint=f"{collector.endpoint}/v1/logs", timeout_seconds=5),
            BatchSettings(**{"schedule_delay_millis": 60_000, **batch}),
            Resource({"service.name": "shop"}),
            MeterProvider([self.reader], shutdown_on_exit=False),
            self.failures.append,
        )

    @property
    def written(self) -> list[dict[str, Any]]:
        """The lines of the stream."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def end(self, timeout: float = 5) -> bool:
        """End it as `Telemetry.shutdown` does."""
        drained = drain([Pipeline("log lines", self.sink.stop, self.sink.exporter)], timeout)
        self.sink.flush_late(collector_answers=drained)
        return drained

    def counted(self, name: str, **attributes: str) -> float:
        """Return what the SDK has counted."""
        data = self.reader.get_metrics_data()
        values: list[float] = [
            point.value  # type: ignore[union-attr]
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if metric.name == name and attributes.items() <= dict(point.attributes or {}).items()
        ]
        return sum(values)


@pytest.fixture
def lines_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Yield a context manager: logging is configured, and its lines are shared with a collector."""
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    root = logging.getLogger()
    before, level = list(root.handlers), root.level

    @contextmanager
    def lines_to(collector: Collector, **batch: int) -> Iterator[Lines]:
        lines = Lines(collector, **batch)
        configure_logging(level="DEBUG", stream=lines.stream)
        sink.set_sink(lines.sink.emit)
        try:
            yield lines
        finally:
            sink.set_sink(None)

    yield lines_to
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)


def values(record: Any) -> dict[str, AnyValue]:
    """Return the attributes of a received line."""
    return {attribute.key: attribute.value for attribute in record.attributes}


def test_both_sinks_get_the_same_line(lines_to: Callable[..., Any]) -> None:
    """Body, level, logger, time, ids and fields, from structlog and from logging."""
    with Collector() as collector, lines_to(collector) as lines, capture() as seen:
        lines.sink.start()
        with seen.telemetry.tracer("test").start_as_current_span("work"):
            structlog.get_logger("shop.orders").info(
                "order placed", order_id="o1", quantity=2, tags=["a"], nested={"b": 1}
            )
            logging.getLogger("shop.store").warning("store is %s", "slow", extra={"attempt": 3})
        assert lines.end()
        (one, placed), (two, slow) = collector.logs()
        first, second = lines.written[:2]
        assert (one, placed.body.string_value, placed.severity_text) == ("shop.orders", "order placed", "INFO")
        assert (two, slow.body.string_value, slow.severity_text) == ("shop.store", "store is slow", "WARNING")
        assert [placed.severity_number, slow.severity_number] == [9, 13]
        for line, record in ((first, placed), (second, slow)):
            assert record.trace_id.hex() == line["trace_id"]
            assert record.span_id.hex() == line["span_id"]
            assert abs(record.time_unix_nano / 1e9 - time.time()) < 60
        found = values(placed)
        assert (found["order_id"].string_value, found["quantity"].int_value) == ("o1", 2)
        assert found["tags"].array_value.values[0].string_value == "a"
        assert found["nested"].kvlist_value.values[0].value.int_value == 1
        assert values(slow)["attempt"].int_value == 3
        resource = collector.log_requests[0].resource_logs[0].resource
        assert resource.attributes[0].value.string_value == "shop"


def test_secrets_reach_neither(lines_to: Callable[..., Any]) -> None:
    """The collector gets the line after its redaction, exceptions included."""
    with Collector() as collector, lines_to(collector) as lines:
        lines.sink.start()
        log = structlog.get_logger("a")
        log.info("redis://:hunter2@a", admin_token="hunter2", headers={"cookie": "hunter2"})  # noqa: S106 - it must not be seen
        try:
            raise ConnectionError("redis://:hunter2@store is down")  # noqa: TRY301 - it is to be logged
        except ConnectionError:
            log.exception("failed with Bearer hunter2")
        assert lines.end()
        assert "hunter2" not in lines.stream.getvalue()
        assert b"hunter2" not in b"".join(request.SerializeToString() for request in collector.log_requests)
        found = values(collector.logs()[1][1])
        assert found["exception.type"].string_value == "ConnectionError"
        assert found["exception.message"].string_value == "redis://[redacted]@store is down"
        assert "test_secrets_reach_neither" in found["exception.stacktrace"].string_value


def test_what_otlp_cannot_carry_does_not_lose_the_others(lines_to: Callable[..., Any]) -> None:
    """One line with a lone surrogate and a huge number goes with the rest of its batch."""
    with Collector() as collector, lines_to(collector) as lines:
        lines.sink.start()
        log = structlog.get_logger("a")
        log.info("good")
        log.info("odd \ud800", number=2**70, items={"\udcff": object()}, key=None)
        log.info("good again")
        assert lines.end()
        assert [record.body.string_value for _, record in collector.logs()] == ["good", "odd ?", "good again"]
        assert values(collector.logs()[1][1])["number"].string_value == str(2**70)
        assert lines.failures == []


def test_lines_from_before_the_start_and_after_the_end_arrive(lines_to: Callable[..., Any]) -> None:
    """A server speaks before and after the lifespan that starts and ends the telemetry."""
    with Collector() as collector, lines_to(collector) as lines:
        log = logging.getLogger("uvicorn.error")
        log.info("Started server process")
        lines.sink.start()
        log.info("Application startup complete.")
        assert lines.end()
        log.info("Finished server process")
        bodies = [record.body.string_value for _, record in collector.logs()]
        assert bodies == ["Started server process", "Application startup complete.", "Finished server process"]


@pytest.mark.parametrize("mode", ["hang", "refuse"])
def test_a_collector_that_is_ill_costs_nothing(lines_to: Callable[..., Any], mode: Any) -> None:
    """Memory is bounded, what is dropped is counted, nobody waits, and the end comes in time."""
    with Collector(mode) as collector:
        with lines_to(collector, max_queue_size=16, max_export_batch_size=8, schedule_delay_millis=10) as lines:
            lines.sink.start()
            log = logging.getLogger("a")
            for _ in range(8):
                log.info("first batch")
            eventually(lambda: collector.headers, 5, "the first batch is on its way")
            begun = time.monotonic()
            for number in range(MAX_ALIKE_PER_SECOND):
                log.info("line %d", number)
            assert time.monotonic() - begun < 2
            dropped = lines.counted("otel.sdk.processor.log.processed", **{"error.type": "queue_full"})
            assert dropped == MAX_ALIKE_PER_SECOND - 16
            begun = time.monotonic()
            assert not lines.end(timeout=3)
            assert time.monotonic() - begun < 3
            log.info("too late")
        assert sum("too late" in line["event"] for line in lines.written) == 1
    eventually(lambda: not _exporting(), 15, "the abandoned export has ended")


def test_an_exporter_that_logs_does_not_feed_itself(lines_to: Callable[..., Any]) -> None:
    """What it says about a collector that refuses is on the stream alone, at level DEBUG too."""
    with Collector("refuse") as collector, lines_to(collector, schedule_delay_millis=10) as lines:
        lines.sink.start()
        logging.getLogger("a").info("the only line")
        said = eventually(
            lambda: [line for line in lines.written if line["event"] != "the only line"], 10, "it complains"
        )
        collector.mode = "answer"
        eventually(collector.logs, 10, "the line is taken at the next try")
        assert lines.end()
        assert said
        assert {record.body.string_value for _, record in collector.logs()} == {"the only line"}


def test_a_taker_is_forgotten(lines_to: Callable[..., Any]) -> None:
    """After that no line goes to the collector."""
    with Collector() as collector:
        with lines_to(collector) as lines:
            lines.sink.start()
        logging.getLogger("a").info("for the stream alone")
        assert lines.end()
        assert collector.logs() == []


def test_the_settings_are_those_of_the_specification() -> None:
    """An endpoint turns it on, `none` turns it off, and the logs have variables of their own."""

    def read(**environ: str) -> OtlpLogSettings | None:
        return TelemetrySettings.from_env(environ, service_name="a", service_version="1", worker="a-0").otlp_logs

    common = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}
    assert read() is None
    assert read(**common, OTEL_LOGS_EXPORTER="none") is None
    assert read(**common) == OtlpLogSettings(logs_endpoint="http://c:4318/v1/logs")
    own = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://l/x", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "2"}
    assert read(**common, **own) == OtlpLogSettings(logs_endpoint="http://l/x", timeout_seconds=2)


def test_a_program_shares_its_lines_with_one_call() -> None:
    """`configure_logging` and `Telemetry` are enough; their order does not matter."""
    program = """
import os, sys, logging
from telemetry import Telemetry, TelemetrySettings, configure_logging
telemetry = Telemetry(TelemetrySettings.from_env(os.environ, service_name="a", service_version="1", worker="a-0"))
configure_logging(stream=sys.stdout)
logging.getLogger("a").info("before")
with telemetry, telemetry.tracer("a").start_as_current_span("work"):
    logging.getLogger("a").info("inside")
logging.getLogger("a").info("after")
print("done", flush=True)
"""
    with Collector() as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_TRACES_SAMPLER": "always_on"}
        with Program.python("-c", program, env=environ) as running:
            running.wait_for_line("done")
            assert running.process.wait(5) == 0
        assert [record.body.string_value for _, record in collector.logs()] == ["before", "inside", "after"]
        (span,) = collector.spans()
        assert collector.logs()[1][1].trace_id == span.trace_id


def _exporting() -> bool:
    return any(thread.name.startswith(("telemetry-drain", "OtelBatch")) for thread in threading.enumerate())
