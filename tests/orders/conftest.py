"""A sale on either server; its books are audited at the end of each test."""

from collections.abc import AsyncIterator, Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis

from service.ledger import lease
from service.webhooks import attempts, delivery
from telemetry import TelemetrySettings
from telemetry.testing import Capture, capture
from tests.orders.sale import Sale
from tests.support import serve
from tests.support.webhooks import Receiver


@pytest.fixture
async def sale(store: Redis) -> AsyncIterator[Sale]:
    """Yield a sale with no product yet; whatever the test did, its books must be in order."""
    opened = await Sale.open(store)
    yield opened
    await opened.dump()


@pytest.fixture
def seen() -> Iterator[Capture]:
    """Yield the telemetry of a worker."""
    with capture(TelemetrySettings(service_name="test", worker="order-0")) as captured:
        yield captured


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Return what keeps the spans of the test."""
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    """Return a real tracer provider that exports to `exporter`."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    """Yield an endpoint and its URL."""
    made = Receiver()
    async with serve(made.app()) as url:
        yield made, f"{url}/hook"


@pytest.fixture
def quick_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pauses, rounds and the lease short; how pauses grow has a test of its own."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(attempts, "MAX_ENDPOINT_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(attempts, "MAX_EVENT_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(delivery, "INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(delivery, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(lease, "TTL_SECONDS", 0.5)
