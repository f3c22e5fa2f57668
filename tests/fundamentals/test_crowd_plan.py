"""The plan of a crowd: who comes, and what makes no sense; and the figures that a run keeps."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from service.crowd import CrowdPlan
from service.crowd.figures import Latencies, OrderIds
from service.crowd.plan import planned_orders
from tests.fundamentals.scripted_service import plan_for


def test_line_follows_the_plan() -> None:
    """Every user comes once before any comes twice; products, quantities and times follow their weights."""
    plan = plan_for("http://shop", orders=None, rate=1000, duration=timedelta(seconds=4), users=500)
    line = list(planned_orders(plan, plan.mix or {}))
    assert 3600 < len(line) < 4400
    assert len({shopper.user_id for shopper in line[:500]}) == 500
    assert line[0].user_id == line[500].user_id
    assert 0.70 < sum(shopper.product_id == "p2" for shopper in line) / len(line) < 0.80
    assert 0.75 < sum(shopper.quantity == 1 for shopper in line) / len(line) < 0.85
    dues = [shopper.due for shopper in line if shopper.due is not None]
    assert dues == sorted(dues)
    assert dues[0] > 0
    assert dues[-1] < 4


@pytest.mark.parametrize("users", [1, 2, 3, 10, 97])
def test_any_number_of_users_is_visited_whole(users: int) -> None:
    """The walk over the users leaves nobody out."""
    plan = plan_for("http://shop", orders=users, users=users)
    assert len({shopper.user_id for shopper in planned_orders(plan, {"p": 1})}) == users


def test_percentiles_are_within_half_a_percent() -> None:
    """The histogram keeps its promise; the maximum is exact, and nothing measured is nothing."""
    latencies = Latencies()
    for number in range(1, 10_001):
        latencies.add(number / 1000)
    told = latencies.percentiles()
    assert (told.count, told.max) == (10_000, 10_000)
    assert told.p50 == pytest.approx(5000, rel=0.006)
    assert told.p99 == pytest.approx(9900, rel=0.006)
    assert Latencies().percentiles().max == 0


def test_order_ids_come_back_as_they_went_in() -> None:
    """They are kept in order, and a sample larger than the whole is the whole."""
    ids = OrderIds()
    for number in range(10):
        ids.add(f"id-{number}")
    assert list(ids) == [f"id-{number}" for number in range(10)]
    assert ids.sample(20) == list(ids)
    assert ids.sample(3) == ["id-0", "id-3", "id-6"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "ftp://shop"},
        {"rate": -1},
        {"rate": float("nan")},
        {"orders": 0},
        {"duration": timedelta()},
        {"retry_share": 0.6, "idempotency_share": 0.5},
        {"mix": {}},
        {"mix": {"p": 0}},
        {"quantities": {0: 1}},
        {"concurrency": 0},
        {"unknown": 1},
    ],
)
def test_plans_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """A plan is checked before anybody sets out."""
    with pytest.raises(ValidationError):
        CrowdPlan.model_validate({"base_url": "http://shop", **wrong})
