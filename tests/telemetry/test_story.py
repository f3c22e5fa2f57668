"""One trace tells the story of an order, from the request to the settled order, across two processes."""

import json
from collections.abc import Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support import RedisServer, eventually
from tests.support.service import ADMIN, Fleet
from tests.telemetry.collector import Collector

SERVER, CLIENT, CONSUMER = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_CONSUMER
LAMP = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": 10, "per_user_limit": None}


class Story:
    """A sale that is over: what was ordered, and what the collector and the log have of it."""

    def __init__(self, collector: Collector, order_id: str, log: str) -> None:
        """Take everything that arrived."""
        self.order_id = order_id
        self.spans = collector.spans()
        self.received = collector.logs()
        self.lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        (self.post,) = [span for span in self.spans if span.name == "POST /orders"]

    @property
    def trace(self) -> dict[str, Span]:
        """The spans of the order's trace by name, each of which there is once."""
        found = [span for span in self.spans if span.trace_id == self.post.trace_id]
        named = {span.name: span for span in found}
        assert len(named) == len(found), [span.name for span in found]
        return named


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    """Sell one lamp, and end everything."""
    with RedisServer("valkey", aof=True) as store, Collector() as collector:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "PAYMENT_LATENCY_SECONDS": "0",
        }
        with Fleet(store.url, env=env) as fleet, fleet.client() as client:
            assert client.put("/inventory/lamp", json=LAMP, headers=ADMIN).status_code == 201
            order = client.post("/orders", json={"product_id": "lamp", "user_id": "ada", "quantity": 1}).json()
            path = f"/orders/{order['order_id']}"
            eventually(lambda: client.get(path).json()["status"] == "confirmed", 20, "the order is confirmed")
            for excluded in ("/metrics", "/healthz", "/readyz"):
                assert client.get(excluded).status_code == 200
            assert fleet.terminate() == 0
            log = fleet.log
        yield Story(collector, order["order_id"], log)


def test_one_trace_has_every_step(story: Story) -> None:
    """Request, place, receive, begin, process, charge, settle: names, kinds and parents."""
    trace = story.trace
    parents = {span.span_id: name for name, span in trace.items()}
    assert {(name, span.kind, parents.get(span.parent_span_id)) for name, span in trace.items()} == {
        ("POST /orders", SERVER, None),
        ("EVALSHA place", CLIENT, "POST /orders"),
        ("receive flash_sale.orders", CLIENT, "POST /orders"),
        ("EVALSHA begin", CLIENT, "receive flash_sale.orders"),
        ("process flash_sale.orders", CONSUMER, "POST /orders"),
        ("charge", CLIENT, "process flash_sale.orders"),
        ("EVALSHA settle", CLIENT, "process flash_sale.orders"),
    }
    (link,) = trace["process flash_sale.orders"].links
    assert link.span_id == trace["receive flash_sale.orders"].span_id


def test_its_spans_name_the_order(story: Story) -> None:
    """Whoever has the order id finds the trace."""
    attributes = {a.key: a.value.string_value for a in story.trace["process flash_sale.orders"].attributes}
    assert attributes["flash_sale.order_id"] == story.order_id
    assert attributes["flash_sale.order.status"] == "confirmed"


def test_polling_and_probes_leave_no_spans(story: Story) -> None:
    """Neither reads of the queue, heartbeats and snapshots nor the excluded paths."""
    names = {span.name for span in story.spans}
    assert names - story.trace.keys() == {
        "PUT /inventory/{product_id}",
        "EVALSHA stock",
        "GET /orders/{order_id}",
        "EVALSHA order",
        "GET /monitoring/health",  # asked for by the test's own wait for readiness
    }


def test_every_line_of_the_processes_arrived(story: Story) -> None:
    """What the API and the worker wrote is what the collector has; the supervisor's lines are on the stream alone."""
    written = [(line["logger"], line["event"]) for line in story.lines if line["logger"] != "flash_sale.supervisor"]
    received = [(logger, record.body.string_value) for logger, record in story.received]
    assert sorted(received) == sorted(written)
    assert {"Started server process", "Finished server process"} <= {event.split(" [")[0] for _, event in written}
