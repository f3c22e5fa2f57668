"""Log lines: one JSON object each, with trace ids and without secrets."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest
import structlog
from fastapi import FastAPI

from telemetry import configure_logging
from telemetry.testing import capture
from tests.support import serve
from tests.support.http import http_client


def refuse(message: str) -> NoReturn:
    """Fail as a store client fails."""
    raise ConnectionError(message)


class Stream(io.StringIO):
    """What was written, line by line."""

    def lines(self) -> list[dict[str, Any]]:
        """Return every line, parsed."""
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def logs() -> Iterator[Stream]:
    """Yield the stream that every log line goes to."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = Stream()
    configure_logging(level="INFO", stream=stream)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)


def test_a_line_is_one_json_object_with_the_same_keys_from_both_libraries(logs: Stream) -> None:
    """Lines of structlog and of logging have the same shape, with a UTC timestamp."""
    structlog.get_logger("shop.orders").info("order placed", order_id="o1", quantity=2)
    logging.getLogger("shop.store").warning("store is %s\nslow", "very", extra={"attempt": 3})
    first, second = logs.lines()
    assert datetime.fromisoformat(first["timestamp"]).utcoffset() == timedelta(0)
    assert first.pop("timestamp").endswith("Z")
    assert second.pop("timestamp").endswith("Z")
    assert first == {
        "level": "info",
        "logger": "shop.orders",
        "event": "order placed",
        "order_id": "o1",
        "quantity": 2,
    }
    assert second == {
        "level": "warning",
        "logger": "shop.store",
        "event": "store is very\nslow",
        "attempt": 3,
    }


def test_a_line_inside_a_span_carries_its_ids(logs: Stream) -> None:
    """Both libraries add `trace_id` and `span_id` inside a span, and nothing outside."""
    with capture() as seen, seen.telemetry.tracer("test").start_as_current_span("work") as span:
        structlog.get_logger("a").info("inside")
        logging.getLogger("b").info("inside")
    structlog.get_logger("a").info("outside")
    context = span.get_span_context()
    inside, foreign, outside = logs.lines()
    for line in (inside, foreign):
        assert line["trace_id"] == f"{context.trace_id:032x}"
        assert line["span_id"] == f"{context.span_id:016x}"
    assert "trace_id" not in outside


def test_lines_below_the_level_are_not_written(logs: Stream) -> None:
    """The level holds for both libraries."""
    structlog.get_logger("a").debug("hidden")
    logging.getLogger("b").debug("hidden")
    assert logs.getvalue() == ""


def test_a_second_configuration_replaces_the_first(logs: Stream) -> None:
    """No line is written twice."""
    other = Stream()
    configure_logging(level="WARNING", stream=other)
    logging.getLogger("b").warning("once")
    assert logs.getvalue() == ""
    assert [line["event"] for line in other.lines()] == ["once"]


def test_an_exception_is_structured_and_shows_no_local_variables(logs: Stream) -> None:
    """Type, value and frames are there; the arguments of the functions are not."""

    def pay(card: str) -> None:
        raise ConnectionError(f"no answer for {len(card)} digits")

    for log in (structlog.get_logger("a").exception, logging.getLogger("b").exception):
        try:
            pay("4111111111111111")
        except ConnectionError:
            log("payment failed")
    assert "4111111111111111" not in logs.getvalue()
    for line in logs.lines():
        assert line["event"] == "payment failed"
        (error,) = line["exception"]
        assert (error["exc_type"], error["exc_value"]) == ("ConnectionError", "no answer for 16 digits")
        assert error["frames"][-1]["name"] == "pay"


def test_secrets_are_redacted_wherever_they_are(logs: Stream) -> None:
    """Keys, nested values, URLs, header text and exception messages."""
    log = structlog.get_logger("a")
    log.info(
        "connecting to redis://user:hunter2@store:6379/0",
        authorization="hunter2",
        admin_token="hunter2",  # noqa: S106 - it is what must not be seen
        headers={"Cookie": "hunter2", "x-api-key": "hunter2", "accept": "text/plain"},
        urls=["redis://:hunter2@a", ("https://hunter2@b/path", b"rediss://u:hunter2@c")],
        note="Authorization: Bearer hunter2",
        error=ValueError("redis://:hunter2@d"),
    )
    try:
        refuse("redis://:hunter2@store is down")
    except ConnectionError:
        logging.getLogger("b").exception("failed with %s", "redis://:hunter2@store")
    assert "hunter2" not in logs.getvalue()
    first, second = logs.lines()
    assert first["event"] == "connecting to redis://[redacted]@store:6379/0"
    assert first["headers"]["accept"] == "text/plain"
    assert first["note"] == "Authorization: Bearer [redacted]"
    assert second["exception"][0]["exc_value"] == "redis://[redacted]@store is down"


def test_ordinary_urls_and_numbers_stay_as_they_are(logs: Stream) -> None:
    """An `@` in a query is no password, and types survive."""
    plain = {"url": "http://store:6379/a?b=c@d", "count": 3, "ratio": 0.5, "ok": True, "nothing": None}
    structlog.get_logger("a").info("plain", **plain)
    (line,) = logs.lines()
    assert {name: line[name] for name in plain} == plain


async def test_uvicorn_writes_the_same_lines(logs: Stream) -> None:
    """With `log_config=None` both of uvicorn's loggers come through."""
    async with (
        serve(FastAPI(), log_config=None, log_level="info") as url,
        http_client(url) as client,
    ):
        await client.get("/nowhere")
    lines = logs.lines()
    assert {"uvicorn.error", "uvicorn.access"} <= {line["logger"] for line in lines}
    assert any("/nowhere" in line["event"] for line in lines)
    assert all("color_message" not in line for line in lines)


def test_handlers_that_uvicorn_made_before_are_replaced(logs: Stream) -> None:
    """Whoever configures last, no line of uvicorn is lost or written twice."""
    elsewhere = io.StringIO()
    access = logging.getLogger("uvicorn.access")
    access.addHandler(logging.StreamHandler(elsewhere))
    access.propagate = False
    configure_logging(stream=logs)
    access.info("GET /")
    assert [line["event"] for line in logs.lines()] == ["GET /"]
    assert elsewhere.getvalue() == ""


def test_warnings_become_lines(logs: Stream) -> None:
    """A Python warning is a log line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old name", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "old name" in logs.lines()[0]["event"]


def test_lines_for_people_hide_secrets_too(logs: Stream) -> None:
    """The console form passes the same redaction."""
    people = io.StringIO()
    configure_logging(stream=people, json=False)
    structlog.get_logger("a").info("ready", url="redis://:hunter2@store", token="hunter2")  # noqa: S106 - as above
    assert logs.getvalue() == ""
    assert "ready" in people.getvalue()
    assert "hunter2" not in people.getvalue()
