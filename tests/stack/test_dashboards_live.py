"""Every query of every panel, asked of the running stack after a small sale; every exemplar leads to its trace."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from deploy.stack import Stack
from monitoring.dashboards.ask import Prometheus, Window, filled
from monitoring.dashboards.check import answers, documents, traces
from monitoring.pictures.page import page
from service.crowd import CrowdPlan, run_crowd
from tests.support import eventually

pytestmark = pytest.mark.timeout(300)

VASE = {"name": "Vase", "price": 1900, "currency": "EUR", "stock": 110, "per_user_limit": 2}


@pytest.fixture(scope="module")
def sold(stack: Stack) -> Window:
    """Sell a product out, slowly enough for several scrapes, and return the time in which it happened."""
    window = Window.last(3)
    headers = {"Authorization": f"Bearer {stack.admin_token}"}
    with httpx.Client(base_url=stack.url("api-1"), headers=headers, timeout=15) as client:
        opens_at = datetime.now(UTC) + timedelta(seconds=6)
        vase = {**VASE, "opens_at": opens_at.isoformat()}
        client.put("/inventory/vase", json=vase).raise_for_status()
        plan = CrowdPlan(
            base_url=stack.url("api-1"),
            rate=6,
            duration=timedelta(seconds=30),
            mix={"vase": 1},
            cancel_share=0.05,
            seed=7,
        )
        report = asyncio.run(run_crowd(plan))
        assert report.unknown == report.unreached == 0, report
        assert client.get("/inventory/vase").json()["stock"] == 0, "the crowd was too small"
    return window


def ended(window: Window) -> Window:
    """Return the same time, up to now."""
    return Window(window.start, Window.last(1).end, window.step)


def test_every_query_of_every_panel_has_data(stack: Stack, sold: Window) -> None:
    """None is about a series that nobody exports, none is a constant."""

    def empty() -> list[str]:
        asked = answers(stack.url("prometheus"), ended(sold))
        return [f"{a.dashboard}: {a.panel} {a.letter}: {a.expr}" for a in asked if a.value is None]

    with suppress(AssertionError):  # the next line says which one has none
        eventually(lambda: not empty(), 45, "every query has data")
    assert empty() == []


def test_every_panel_can_be_drawn(stack: Stack, sold: Window) -> None:
    """For the documentation: each in its place, none without data."""
    with Prometheus(stack.url("prometheus")) as prometheus:
        for document in documents().values():
            drawn = page(prometheus, document, ended(sold))
            assert drawn.count("<section") == sum(panel["type"] != "row" for panel in document["panels"])
            assert "No data" not in drawn


def test_the_marks_are_where_it_happened(stack: Stack, sold: Window) -> None:
    """The sale opened once and was sold out once."""
    marks = {mark["name"]: mark["expr"] for mark in documents()["sale"]["annotations"]["list"]}
    with Prometheus(stack.url("prometheus")) as prometheus:

        def runs(name: str) -> int:
            found = prometheus.range(marks[name], ended(sold), {"product": "vase"})
            times = [at for series in found for at, _ in series.points]
            return sum(at - before > 2 * sold.step for at, before in zip(times, [0.0, *times], strict=False))

        eventually(lambda: runs("Sold out") == 1, 30, "sold out is marked")
        assert runs("Sale opens") == 1
        assert prometheus.range(marks["Alert"], ended(sold)) is not None


def test_every_exemplar_leads_to_its_trace(stack: Stack, sold: Window) -> None:
    """At least 99 of 100 that the panels show are in Jaeger."""

    def there() -> bool:
        found = traces(stack.url("prometheus"), stack.url("jaeger"), ended(sold))
        return len(found) > 5 and sum(found.values()) >= 0.99 * len(found)

    eventually(there, 45, "they are, those of the last seconds too")


def test_the_ways_back_from_a_span_are_valid(stack: Stack, sold: Window) -> None:
    """What Jaeger's data source asks Prometheus of a span's route is answered."""
    from tests.stack.test_dashboards import provisioned  # noqa: PLC0415 - no fixture of this module

    jaeger = next(source for source in provisioned("datasources")["datasources"] if source["uid"] == "jaeger")
    with Prometheus(stack.url("prometheus")) as prometheus:
        for query in jaeger["jsonData"]["tracesToMetrics"]["queries"]:
            expr = query["query"].replace("$$__tags", 'http_route="/orders",http_request_method="POST"')
            assert prometheus.range(filled(expr, ended(sold)), ended(sold)), query["name"]
