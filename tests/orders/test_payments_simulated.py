"""The simulator of payments, and the settings that choose between it and a real gateway."""

import asyncio
import random
from collections import Counter
from time import perf_counter
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from service.orders.payments import (
    Charge,
    Declined,
    PaymentSettings,
    PaymentUnavailable,
    Receipt,
    SimulatedGateway,
    gateway,
)
from service.orders.payments.simulated import LATENCY_BOUND, draw_latency

CHARGE = Charge(order_id="07abc", user_id="ann", amount=2598, currency="EUR")


def simulator(provider: TracerProvider, **settings: float) -> SimulatedGateway:
    """Return a simulator without latency, declines or errors but for those that the test wants."""
    quiet = {"latency_seconds": 0.0, "decline_rate": 0.0, "error_rate": 0.0}
    made = gateway(PaymentSettings.model_validate(quiet | settings), provider)
    assert isinstance(made, SimulatedGateway)
    return made


def charges(number: int) -> list[Charge]:
    """Return charges of different orders."""
    return [Charge(order_id=f"{n:030x}", user_id="ann", amount=1, currency="EUR") for n in range(number)]


async def test_simulator_declines_the_same_orders_each_time(provider: TracerProvider) -> None:
    """A redelivered order gets the answer it had, also from another process; the rate is kept."""
    one, other = simulator(provider, decline_rate=0.2), simulator(provider, decline_rate=0.2)
    first = [await one.charge(charge) for charge in charges(1000)]
    assert first == [await other.charge(charge) for charge in charges(1000)]
    assert 150 < sum(isinstance(answer, Declined) for answer in first) < 250


@pytest.mark.parametrize(("rate", "kind"), [(0.0, Receipt), (1.0, Declined)])
async def test_simulator_at_the_ends_of_its_rates(rate: float, kind: type, provider: TracerProvider) -> None:
    """No order is declined at 0, every one at 1."""
    simulated = simulator(provider, decline_rate=rate)
    assert all([isinstance(await simulated.charge(charge), kind) for charge in charges(200)])


async def test_simulated_error_may_pass(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    """Errors do not stick to an order: a repetition can succeed."""
    simulated = simulator(provider, error_rate=0.5)
    outcomes: Counter[str] = Counter()
    for _ in range(200):
        try:
            outcomes[type(await simulated.charge(CHARGE)).__name__] += 1
        except PaymentUnavailable as error:
            outcomes[error.code] += 1
    assert outcomes.keys() == {"Receipt", "payment_unavailable"}
    assert 50 < outcomes["Receipt"] < 150
    assert {span.kind for span in exporter.get_finished_spans()} == {SpanKind.CLIENT}
    assert {span.name for span in exporter.get_finished_spans()} == {"charge"}


async def test_simulator_without_latency_awaits_nothing(provider: TracerProvider) -> None:
    """With zero latency a charge is over in one step, so a benchmark measures the service alone."""
    charging = simulator(provider).charge(CHARGE)
    with pytest.raises(StopIteration) as done:
        charging.send(None)
    assert isinstance(done.value.value, Receipt)


def test_simulated_latency_is_bounded_and_near_its_mean() -> None:
    """Latencies vary about the mean, and none is endless. What is drawn is looked at: a busy machine adds to a wait."""
    chance = random.Random(7)
    drawn = [draw_latency(0.02, chance) for _ in range(20_000)]
    assert 0.019 < sum(drawn) / len(drawn) < 0.021
    assert min(drawn) < 0.001
    assert max(drawn) == LATENCY_BOUND * 0.02


async def test_a_charge_takes_its_latency(provider: TracerProvider) -> None:
    """Each waits for its own, all at one time."""
    simulated = simulator(provider, latency_seconds=0.02)

    async def took(charge: Charge) -> float:
        begun = perf_counter()
        await simulated.charge(charge)
        return perf_counter() - begun

    begun = perf_counter()
    times = await asyncio.gather(*(took(charge) for charge in charges(300)))
    assert perf_counter() - begun < sum(times) / 2
    assert sum(times) / len(times) > 0.012


@pytest.mark.parametrize(
    "wrong",
    [
        {"gateway_url": "payments.example"},
        {"latency_seconds": -1},
        {"decline_rate": 1.1},
        {"error_rate": float("nan")},
        {"timeout_seconds": 0},
        {"attempts": 0},
        {"atempts": 3},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    """Settings are checked before the first payment."""
    with pytest.raises(ValidationError):
        PaymentSettings.model_validate(wrong)
