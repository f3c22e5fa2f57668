"""A sale on a running stack: its API, and what Jaeger and Prometheus know of it."""

import time
from types import TracebackType
from typing import Any, Self

import httpx

from deploy.stack import Stack
from tests.support import eventually

LAMP = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": 100_000}
SHOPPER = "ada.lovelace@example.org"

Span = dict[str, Any]


class Sale:
    """A client of one replica, of Jaeger's query API and of Prometheus."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._api = httpx.Client(base_url=stack.url("api-1"), timeout=20)
        self._http = httpx.Client(timeout=20)

    def offer(self, product: str, terms: dict[str, Any]) -> None:
        """Put a product on sale."""
        headers = {"Authorization": f"Bearer {self.stack.admin_token}"}
        self._api.put(f"/inventory/{product}", json=terms, headers=headers).raise_for_status()

    def post(self, **changes: Any) -> httpx.Response:
        """Send an order."""
        return self._api.post("/orders", json={"product_id": "lamp", "user_id": SHOPPER, "quantity": 1, **changes})

    def get(self, path: str, **query: str) -> httpx.Response:
        """Ask the API."""
        return self._api.get(path, params=query)

    def settled(self, order_id: str) -> str:
        """Wait until an order is settled and return its status."""

        def status() -> str:
            told = self.get(f"/orders/{order_id}").json()["status"]
            return "" if told in ("pending", "processing") else str(told)

        return eventually(status, 30, f"{order_id} is settled")

    def jaeger(self, path: str, **query: Any) -> Any:
        """Ask Jaeger's query API."""
        answer = self._http.get(f"{self.stack.url('jaeger')}{path}", params=query)
        answer.raise_for_status()
        return answer.json()

    def traces(self, service: str = "flash-sale-api", **query: Any) -> list[list[Span]]:
        """Return traces as lists of spans, each with its tags as a mapping and its service's name."""
        found = self.jaeger("/api/traces", service=service, limit=2000, **query)["data"]
        return [_spans(trace) for trace in found]

    def trace(self, trace_id: str, least: int) -> list[Span]:
        """Return a trace, nothing while it has fewer spans."""
        answer = self._http.get(f"{self.stack.url('jaeger')}/api/traces/{trace_id}")
        found = answer.json()["data"] if answer.status_code == httpx.codes.OK else []
        spans = _spans(found[0]) if found else []
        return spans if len(spans) >= least else []

    def trace_of(self, order_id: str, least: int) -> list[Span]:
        """Wait until Jaeger has the trace of an order, with so many spans, and return it."""

        def look() -> list[Span] | None:
            tags = f'{{"flash_sale.order_id":"{order_id}"}}'
            found = self.traces("flash-sale-worker", tags=tags)
            return found[0] if found and len(found[0]) >= least else None

        return eventually(look, 30, f"the trace of {order_id} is in Jaeger") or []

    def value(self, query: str) -> float:
        """Evaluate a query of Prometheus that has one value, 0 when it has none."""
        answer = self._http.get(f"{self.stack.url('prometheus')}/api/v1/query", params={"query": query})
        result = answer.json()["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    def targets(self) -> dict[str, str]:
        """Return the health of each target of Prometheus."""
        answer = self._http.get(f"{self.stack.url('prometheus')}/api/v1/targets").json()
        return {target["labels"]["instance"]: target["health"] for target in answer["data"]["activeTargets"]}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._api.close()
        self._http.close()


class Load:
    """Orders one after another, and how long each took."""

    def __init__(self, sale: Sale) -> None:
        self._sale = sale
        self.accepted: list[str] = []
        self.milliseconds: list[float] = []

    def send(self, orders: int) -> None:
        """Send orders; each must be accepted."""
        for _ in range(orders):
            begun = time.perf_counter()
            answer = self._sale.post()
            self.milliseconds.append((time.perf_counter() - begun) * 1000)
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text
            self.accepted.append(answer.json()["order_id"])


def named(spans: list[Span], name: str) -> Span:
    """Return the one span with this name."""
    (span,) = [span for span in spans if span["operationName"] == name]
    return span


def _spans(trace: dict[str, Any]) -> list[Span]:
    for span in trace["spans"]:
        span["tags"] = {tag["key"]: tag["value"] for tag in span["tags"]}
        span["service"] = trace["processes"][span["processID"]]["serviceName"]
    return list(trace["spans"])
