"""Log lines under `opentelemetry-instrument`, which may send them itself: each is sent once, and none with a secret."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support import Program, eventually, free_port
from tests.support.http import http_get
from tests.telemetry.collector import Collector

ROOT = Path(__file__).parents[2]
SHOP = """
import logging, os, sys
import structlog
from fastapi import FastAPI
from telemetry import Telemetry, configure_logging

if os.environ["CONFIGURED"] == "yes":
    configure_logging(stream=sys.stdout)
else:
    logging.getLogger().setLevel("INFO")
app = FastAPI()

@app.get("/items/{item}")
async def item(item: str) -> None:
    logging.getLogger("shop").info("asked for %s with token=abc123", item, extra={"item": item})
    if os.environ["CONFIGURED"] == "yes":
        structlog.get_logger("shop.structured").info("counted", item=item, api_key="abc123")
        try:
            raise RuntimeError("no password=abc123 here")
        except RuntimeError:
            logging.getLogger("shop.failed").exception("failed")

Telemetry("shop").install(app)
"""


@pytest.mark.parametrize("by_host", ["true", "false"])
@pytest.mark.parametrize("configured", ["yes", "no"])
def test_each_line_is_sent_once(configured: str, by_host: str, tmp_path: Path) -> None:
    """Whoever sends it; nobody does where neither was asked to."""
    (tmp_path / "shop.py").write_text(SHOP)
    port = free_port()
    programs = Path(sys.executable).parent
    command = [str(programs / "opentelemetry-instrument"), str(programs / "uvicorn"), "shop:app", "--port", str(port)]
    with Collector() as collector:
        env = {
            "CONFIGURED": configured,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": by_host,
            "OTEL_BLRP_SCHEDULE_DELAY": "50",
            "OTEL_METRICS_EXPORTER": "none",
            "PYTHONPATH": str(ROOT),
        }
        with Program(command, env=env, cwd=tmp_path) as program:
            program.wait_for_line("Uvicorn running" if configured == "no" else "running on", 60)
            for item in ("lamp", "vase"):
                http_get(f"http://127.0.0.1:{port}/items/{item}")
            if configured == "yes" or by_host == "true":
                eventually(lambda: len(said(collector)) >= (6 if configured == "yes" else 2), 10, "the lines are there")
            program.terminate()
            assert "without an effect here" not in program.output
            if configured == "yes":
                assert "abc123" not in program.output.replace("opentelemetry", "")
        lines = Counter(said(collector))
        if configured == "yes":
            assert lines == {
                ("shop", "asked for lamp with token=[redacted]"): 1,
                ("shop", "asked for vase with token=[redacted]"): 1,
                ("shop.structured", "counted"): 2,
                ("shop.failed", "failed"): 2,
            }
            assert "abc123" not in str(collector.log_requests)
            assert "RuntimeError" in str(collector.log_requests)
        else:
            assert len(lines) == lines.total() == (2 if by_host == "true" else 0)
        traces = {span.trace_id for span in collector.spans()}
        assert {record.trace_id for name, record in collector.logs() if name.startswith("shop")} <= traces


def said(collector: Collector) -> list[tuple[str, str]]:
    """Return the lines of the application, with their loggers."""
    return [(name, record.body.string_value) for name, record in collector.logs() if name.startswith("shop")]
