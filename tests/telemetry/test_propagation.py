"""Trace context through a queue entry."""

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode

from telemetry import consumer_context, consumer_span, current_traceparent, inject, store_span, suppressed
from telemetry.testing import capture


def test_a_consumer_span_is_a_child_of_the_producer_and_linked_to_its_batch() -> None:
    """One trace from the request to the worker; the batch is a link."""
    with capture() as seen:
        tracer = seen.telemetry.tracer("test")
        entry: dict[str, str] = {"order": "o1"}
        with tracer.start_as_current_span("POST /orders") as producer:
            inject(entry)
        assert set(entry) == {"order", "traceparent"}
        with tracer.start_as_current_span("settle batch") as batch:
            links = [batch.get_span_context()]
            with consumer_span(
                tracer, "settle", traceparent=entry["traceparent"], links=links, attributes={"a": 1}
            ) as consumer:
                assert trace.get_current_span() is consumer
            assert trace.get_current_span() is batch
        span = next(span for span in seen.spans() if span.name == "settle")
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is not None
    assert span.parent.span_id == producer.get_span_context().span_id
    assert span.context.trace_id == producer.get_span_context().trace_id
    assert [link.context for link in span.links] == links
    assert span.attributes == {"a": 1}


def test_an_exception_in_a_consumer_goes_on_and_is_recorded() -> None:
    """The span is an error and the caller sees the exception."""
    with capture() as seen:
        with (
            pytest.raises(RuntimeError),
            consumer_span(seen.telemetry.tracer("test"), "settle", traceparent=""),
        ):
            raise RuntimeError("a bug")
        (span,) = seen.spans()
    assert span.status.status_code is StatusCode.ERROR


def test_outside_a_span_there_is_nothing_to_carry() -> None:
    """The carrier stays as it was."""
    carrier: dict[str, str] = {}
    inject(carrier)
    assert carrier == {}
    assert current_traceparent() == ""


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "nonsense",
        "00-" + "0" * 32 + "-00000000000000aa-01",
        "00-" + "a" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "a" * 32 + "-00000000000000aa-01",
        "00-" + "A" * 32 + "-00000000000000aa-01",
        "00-" + "a" * 32 + "-00000000000000aa-01-more",
        "00-" + "a" * 32 + "-00000000000000aa-01\n",
        "x" * 55,
        "x" * 1_000_000,
    ],
)
def test_a_malformed_traceparent_begins_a_new_trace(malformed: str) -> None:
    """Whatever stands in the entry, the order is still processed and traced."""
    assert consumer_context(malformed) == Context()
    with capture() as seen:
        with consumer_span(seen.telemetry.tracer("test"), "settle", traceparent=malformed):
            assert current_traceparent() != ""
        (span,) = seen.spans()
    assert span.parent is None


def test_a_store_call_is_a_client_span_with_the_stable_attributes() -> None:
    """A batch size appears from two on; a link to the own parent is left out."""
    with capture() as seen:
        tracer = seen.telemetry.tracer("test")
        with tracer.start_as_current_span("other") as other:
            pass
        with tracer.start_as_current_span("POST /orders") as parent:
            links = [other.get_span_context(), parent.get_span_context()]
            with store_span(tracer, "EVALSHA", "place", 3, links=links):
                pass
            with store_span(tracer, "PING"):
                pass
        first, second = seen.spans()[1:3]
    assert (first.name, first.kind) == ("EVALSHA place", SpanKind.CLIENT)
    assert first.attributes == {
        "db.system.name": "redis",
        "db.operation.name": "EVALSHA",
        "db.stored_procedure.name": "place",
        "db.operation.batch.size": 3,
    }
    assert first.parent == parent.get_span_context()
    assert [link.context for link in first.links] == [other.get_span_context()]
    assert (second.name, second.attributes) == ("PING", {"db.system.name": "redis", "db.operation.name": "PING"})


def test_a_store_call_that_fails_is_an_error_and_the_exception_goes_on() -> None:
    """The type is recorded, the message with its URL is not."""
    with capture() as seen:
        tracer = seen.telemetry.tracer("test")
        with (
            tracer.start_as_current_span("POST /orders"),
            pytest.raises(ConnectionError),
            store_span(tracer, "PING"),
        ):
            raise ConnectionError("redis://:hunter2@store is gone")
        span = seen.spans()[0]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ConnectionError"
    assert "hunter2" not in span.to_json()


def test_polling_makes_no_spans() -> None:
    """Neither outside any trace nor inside `suppressed`."""
    with capture() as seen:
        tracer = seen.telemetry.tracer("test")
        with store_span(tracer, "XREADGROUP"):
            pass
        with tracer.start_as_current_span("loop"), suppressed(), store_span(tracer, "XREADGROUP"):
            pass
        assert [span.name for span in seen.spans()] == ["loop"]
