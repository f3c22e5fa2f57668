"""What Jaeger knows of a sale, through its query API: orders from POST to settled, errors, services, performance."""

import json
import signal

import httpx

from tests.stack.sale import SHOPPER, Sale, named
from tests.support import eventually

WHOLE = {
    "POST /orders": "flash-sale-api",
    "EVALSHA place": "flash-sale-api",
    "receive flash_sale.orders": "flash-sale-worker",
    "EVALSHA begin": "flash-sale-worker",
    "process flash_sale.orders": "flash-sale-worker",
    "charge": "flash-sale-worker",
    "EVALSHA settle": "flash-sale-worker",
}


def parent(span: dict[str, object], kind: str = "CHILD_OF") -> list[str]:
    """Return the ids of the spans that a span refers to in one way."""
    references: list[dict[str, str]] = span["references"]  # type: ignore[assignment]
    return [reference["spanID"] for reference in references if reference["refType"] == kind]


def test_an_order_is_one_trace_from_post_to_settled(sale: Sale) -> None:
    """Store, queue and payment spans hang where they belong; the order's span is linked to its batch."""
    eventually(lambda: sale.get("/orders/queue").json()["length"] == 0, 30, "no other order shares its batch")
    order = sale.post().json()["order_id"]
    assert sale.settled(order) == "confirmed"
    spans = sale.trace_of(order, len(WHOLE))
    assert {span["operationName"]: span["service"] for span in spans} == WHOLE

    post, process = named(spans, "POST /orders"), named(spans, "process flash_sale.orders")
    assert parent(named(spans, "EVALSHA place")) == [post["spanID"]]
    assert parent(process) == [post["spanID"]]
    assert parent(named(spans, "charge")) == [process["spanID"]]
    assert parent(named(spans, "EVALSHA settle")) == [process["spanID"]]
    assert parent(process, "FOLLOWS_FROM") == [named(spans, "receive flash_sale.orders")["spanID"]]

    assert post["tags"]["http.route"] == "/orders"
    assert post["tags"]["http.response.status_code"] == 202
    assert named(spans, "EVALSHA place")["tags"]["db.system.name"] == "redis"
    assert process["tags"]["messaging.destination.name"] == "flash_sale.orders"
    assert process["tags"]["flash_sale.order.status"] == "confirmed"


def test_a_store_that_hangs_is_an_error_of_the_request_and_of_its_store_span(sale: Sale) -> None:
    """Both are marked, and the store's span names the exception."""
    store = sale.stack.parts["redis"]
    store.signal(signal.SIGSTOP)
    try:
        answer = sale.post()
    finally:
        store.signal(signal.SIGCONT)
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    trace = answer.json()["trace_id"]

    def arrived() -> bool:
        names = {span["operationName"] for span in sale.trace(trace, least=2)}
        return names >= {"POST /orders", "EVALSHA place"}

    eventually(arrived, 30, "the failed request and its step in the store are in Jaeger")
    spans = sale.trace(trace, least=2)
    post, place = named(spans, "POST /orders"), named(spans, "EVALSHA place")
    assert post["tags"]["error"] is place["tags"]["error"] is True
    assert post["tags"]["http.response.status_code"] == 503
    assert place["tags"]["error.type"] == "TimeoutError"
    eventually(lambda: sale.get("/readyz").status_code == httpx.codes.OK, 30, "the store answers again")


def test_services_and_operations_are_named_by_the_conventions(sale: Sale) -> None:
    """Routes, not paths: a product's or an order's id makes no operation."""
    order = sale.post().json()["order_id"]
    sale.settled(order)
    sale.get("/inventory/lamp")
    eventually(
        lambda: {"flash-sale-api", "flash-sale-worker"} <= set(sale.jaeger("/api/services")["data"]),
        30,
        "both services are known",
    )

    def operations() -> bool:
        told = sale.jaeger("/api/v3/operations", service="flash-sale-api")["operations"]
        names = {operation["name"] for operation in told}
        return {"POST /orders", "GET /orders/{order_id}", "GET /inventory/{product_id}"} <= names

    eventually(operations, 30, "the routes are operations")
    told = sale.jaeger("/api/v3/operations", service="flash-sale-api")["operations"]
    assert not [operation for operation in told if order in operation["name"] or "lamp" in operation["name"]]


def test_performance_is_monitored_from_span_metrics(sale: Sale) -> None:
    """Jaeger asks Prometheus for the calls that the collector counted."""

    def calls() -> bool:
        sale.post()  # what was counted before the first scrape of a series is no growth
        query = {"service": "flash-sale-api", "spanKind": "server", "groupByOperation": "true"}
        window = {"lookback": "600000", "step": "5000", "ratePer": "60000", "quantile": "0.95"}
        for metric in ("calls", "latencies"):
            told = sale.jaeger(f"/api/metrics/{metric}", **query, **window)
            points = {
                label["value"]: [point["gaugeValue"]["doubleValue"] for point in series["metricPoints"]]
                for series in told["metrics"]
                for label in series["labels"]
                if label["name"] == "operation"
            }
            numbers = [value for value in points.get("POST /orders", []) if isinstance(value, float | int)]
            if not any(value > 0 for value in numbers):
                return False
        return True

    eventually(calls, 60, "Jaeger shows calls and latencies of POST /orders")
    edges = 'sum(traces_service_graph_request_total{client="flash-sale-api",server="redis",of="recorded traces"})'
    eventually(lambda: sale.value(edges) > 0, 60, "the service graph leads from the API to the store")


def test_who_bought_is_not_in_any_trace(sale: Sale) -> None:
    """Not in a query string, a tag or an event: a keyed hash stands there, the same for the same shopper."""
    assert sale.get("/orders", user_id=SHOPPER).status_code == httpx.codes.OK
    assert sale.get("/orders", user_id=SHOPPER).status_code == httpx.codes.OK
    sale.settled(sale.post().json()["order_id"])

    def queries() -> list[str]:
        spans = [span for trace in sale.traces(operation="GET /orders") for span in trace]
        return [span["tags"]["url.query"] for span in spans if "url.query" in span["tags"]]

    eventually(lambda: len(queries()) >= 2, 30, "the requests are in Jaeger")
    assert len(set(queries())) == 1
    everything = json.dumps([sale.traces(), sale.traces("flash-sale-worker")])
    for part in ("ada.lovelace", "lovelace", "example.org", "ada%2e"):
        assert part not in everything
