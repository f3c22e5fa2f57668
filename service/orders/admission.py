"""Admission: what can be refused from memory, before the store is asked. Bounds the work that is under way.

In this order: a user who sends too much, a product that is sold out, a process with too much under way, workers with
too much before them.
"""

from math import ceil
from time import monotonic
from typing import Self

from service.orders.sold_out import SoldOutCache
from service.orders.wait_time import WaitEstimator
from service.problems import Problem

USERS_REMEMBERED = 100_000


class Admission:
    """Bounds the orders under way in this process, and the rate of each user.

    The rate is kept by the generic cell rate algorithm (ITU-T I.371): one number a user, a burst of one second.
    """

    def __init__(
        self, sold_out: SoldOutCache, wait: WaitEstimator, *, max_in_flight: int, rate_per_second: float | None
    ) -> None:
        self._sold_out = sold_out
        self._wait = wait
        self._max_in_flight = max_in_flight
        self._rate = rate_per_second
        self._arrivals: dict[str, float] = {}
        self._prune_at = USERS_REMEMBERED
        self.in_flight = 0

    def admit(self, user_id: str, product_id: str, *, keyed: bool) -> Self:
        """Let one order in, for the length of a `with` block.

        Args:
            user_id: Whose.
            product_id: For what.
            keyed: Whether it has an idempotency key. It may have been placed before then: only the ledger can tell.

        Raises:
            Problem: 429 `rate_limited` or 503 `overloaded`, with `Retry-After`; 409 `sold_out`.
        """
        due = self._due(user_id)
        if not keyed and product_id in self._sold_out:
            self._note(user_id, due)
            raise Problem("sold_out", "0 units are left.")
        if self.in_flight >= self._max_in_flight:
            raise Problem("overloaded", "Too many orders are under way.", headers={"Retry-After": "1"})
        if (excess := self._wait.seconds_over_limit()) > 0:
            raise Problem("overloaded", "Too many orders wait.", headers={"Retry-After": str(ceil(excess))})
        self._note(user_id, due)
        self.in_flight += 1
        return self

    def __enter__(self) -> None:
        """Note that the order is under way."""

    def __exit__(self, *_: object) -> None:
        """Note that it no longer is."""
        self.in_flight -= 1

    def _due(self, user_id: str) -> float:
        """When this order of the user is due by the rate; a 503 of ours must not use up what the user may send."""
        if self._rate is None:
            return 0.0
        now = monotonic()
        due = max(self._arrivals.get(user_id, now), now)
        early = due - now - max(1 - 1 / self._rate, 0)
        if early > 0:
            raise Problem("rate_limited", headers={"Retry-After": str(ceil(early))})
        return due

    def _note(self, user_id: str, due: float) -> None:
        if self._rate is None:
            return
        self._arrivals[user_id] = due + 1 / self._rate
        if len(self._arrivals) > self._prune_at:
            now = monotonic()
            self._arrivals = {user: time for user, time in self._arrivals.items() if time > now}
            self._prune_at = max(USERS_REMEMBERED, 2 * len(self._arrivals))
