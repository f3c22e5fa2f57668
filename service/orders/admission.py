"""Admission: what can be refused from memory, before the store is asked. Bounds the work that is under way.

In this order: a product that is sold out, a process with too much under way, workers with too much before them. How
often one user may order is counted in the store, by who gets as far as that (`rate_limits.py`).
"""

from math import ceil
from typing import Self

from service.orders.sold_out import SoldOutCache
from service.orders.wait_time import WaitEstimator
from service.problems import Problem


class Admission:
    """Bounds the orders under way in this process."""

    def __init__(
        self,
        sold_out: SoldOutCache,
        wait: WaitEstimator,
        *,
        max_in_flight: int,
    ) -> None:
        self._sold_out = sold_out
        self._wait = wait
        self._max_in_flight = max_in_flight
        self.in_flight = 0

    def admit(self, product_id: str, *, keyed: bool) -> Self:
        """Let one order in, for the length of a `with` block.

        Args:
            product_id: For what.
            keyed: Whether it has an idempotency key. It may have been placed before then: only the ledger can tell.

        Raises:
            Problem: 503 `overloaded`, with `Retry-After`; 409 `sold_out`.
        """
        if not keyed and product_id in self._sold_out:
            raise Problem("sold_out", "0 units are left.")
        if self.in_flight >= self._max_in_flight:
            raise Problem("overloaded", "Too many orders are under way.", headers={"Retry-After": "1"})
        if (excess := self._wait.seconds_over_limit()) > 0:
            raise Problem("overloaded", "Too many orders wait.", headers={"Retry-After": str(ceil(excess))})
        self.in_flight += 1
        return self

    def __enter__(self) -> None:
        """Note that the order is under way."""

    def __exit__(self, *_: object) -> None:
        """Note that it no longer is."""
        self.in_flight -= 1
