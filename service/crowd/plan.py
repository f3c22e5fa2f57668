"""What a crowd does and who comes when: a plan, and the line of shoppers that follows from its seed."""

import math
import secrets
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, count
from random import Random
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    PositiveInt,
    TypeAdapter,
    model_validator,
)


def _address(text: str) -> str:
    return str(TypeAdapter(HttpUrl).validate_python(text)).rstrip("/")


def _weighable(weights: Mapping[object, float] | None) -> Mapping[object, float] | None:
    if weights is not None and not sum(weights.values()) > 0:
        raise ValueError("at least one weight must be positive")
    return weights


Address = Annotated[str, AfterValidator(_address)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Duration = Annotated[timedelta, Field(gt=timedelta())]


class CrowdPlan(BaseModel):
    """A crowd against the service at `base_url`.

    `rate` is in orders per second, arriving at random (Poisson); 0 is as fast as `concurrency` shoppers can.
    The crowd ends after `duration` or `orders`, whichever comes first; with neither it ends when cancelled.
    `mix` and `quantities` are weights; without a `mix`, every product whose sale is open is wanted. Shares
    are of all orders. Orders that had no answer and have a key are sent again when all is over, for `ask_again`
    at most, until an answer says what became of them. Equal `seed`s give equal shoppers; `run_id` keeps the keys
    of two runs apart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: Address
    rate: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0
    duration: Duration | None = None
    orders: PositiveInt | None = None
    users: PositiveInt = 1000
    user_prefix: str = "shopper"
    mix: Annotated[dict[str, Weight] | None, AfterValidator(_weighable)] = None
    quantities: Annotated[dict[PositiveInt, Weight], AfterValidator(_weighable)] = {1: 0.8, 2: 0.15, 3: 0.05}
    idempotency_share: Share = 0.5
    retry_share: Share = 0.05
    cancel_share: Share = 0.0
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    timeout: Duration = timedelta(seconds=10)
    ask_again: Annotated[timedelta, Field(ge=timedelta())] = timedelta()
    headers: dict[str, str] = {}
    seed: int = Field(default_factory=lambda: secrets.randbelow(2**32))
    run_id: str = Field(default_factory=lambda: secrets.token_hex(4))
    keep_order_ids: bool = True

    @model_validator(mode="after")
    def _retries_carry_keys(self) -> "CrowdPlan":
        if self.retry_share > self.idempotency_share:
            raise ValueError("retry_share cannot exceed idempotency_share: an order sent twice needs a key")
        return self


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """One order that somebody wants to place, `due` seconds after the start (None: at once)."""

    due: float | None
    user_id: str
    product_id: str
    quantity: int
    key: str | None
    twice: bool
    cancels: bool


def planned_orders(plan: CrowdPlan, mix: Mapping[str, float]) -> Generator[PlannedOrder, None, None]:
    """Yield the shoppers of a plan in the order of their coming; the seed decides all but the key's prefix.

    Every user comes once before anybody comes twice.
    """
    # A source of its own for the times: the same people come whatever the rate.
    choices, times = Random(f"{plan.seed}/choices"), _arrivals(plan)
    users = _users(plan)
    products, product_weights = list(mix), list(accumulate(mix.values()))
    quantities, quantity_weights = list(plan.quantities), list(accumulate(plan.quantities.values()))
    for number in count() if plan.orders is None else range(plan.orders):
        due = next(times, None)
        if due is None and plan.rate:
            return
        careful = choices.random()
        yield PlannedOrder(
            due=due,
            user_id=next(users),
            product_id=choices.choices(products, cum_weights=product_weights)[0],
            quantity=choices.choices(quantities, cum_weights=quantity_weights)[0],
            key=f"{plan.run_id}-{number}" if careful < plan.idempotency_share else None,
            twice=careful < plan.retry_share,
            cancels=choices.random() < plan.cancel_share,
        )


def _arrivals(plan: CrowdPlan) -> Iterator[float]:
    """Yield the times of a Poisson process, up to the duration; nothing for a closed loop."""
    end = plan.duration.total_seconds() if plan.duration else math.inf
    chance, at = Random(f"{plan.seed}/arrivals"), 0.0
    while plan.rate:
        at += chance.expovariate(plan.rate)
        if at >= end:
            return
        yield at


def _users(plan: CrowdPlan) -> Iterator[str]:
    """Yield user ids in a fixed random-looking order that visits all before any again, without a list."""
    chance = Random(f"{plan.seed}/users")
    start, step = chance.randrange(plan.users), chance.randrange(1, plan.users + 1)
    while math.gcd(step, plan.users) != 1:
        step += 1
    for number in count():
        yield f"{plan.user_prefix}-{(start + number * step) % plan.users}"
