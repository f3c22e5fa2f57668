"""The line before the workers as one process sees it: how long an order placed now would wait for one.

The newest snapshot's line and pace, with what happened since; docs/decisions/orders-pace.md says how, and why so.
"""

from collections.abc import Callable
from time import monotonic

from service.ledger.snapshot import STALE_SECONDS, Snapshot


class WaitEstimator:
    """Predicts the wait; `limit` is how long it may be, 0 if that is nobody's concern."""

    def __init__(self, limit: float = 0.0, clock: Callable[[], float] = monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._asked = 0.0
        self._joined = 0

    def refresh(self, snapshot: Snapshot, asked: float) -> None:
        """Learn from a snapshot, which was asked for at `asked`."""
        self._snapshot, self._asked, self._joined = snapshot, asked, 0

    def record_enqueued(self, orders: int) -> None:
        """Note that this process placed so many orders."""
        self._joined += orders

    def wait_seconds(self) -> float:
        """How long an order placed now would wait; 0 when nothing is known."""
        elapsed = self._clock() - self._asked
        if self._snapshot is None or elapsed > STALE_SECONDS:
            return 0.0
        waiting = self._snapshot.waiting + self._joined
        pace = self._snapshot.capacity and self._snapshot.drain_rate  # no pace is known before a line was seen
        wait = waiting / pace if pace else 0.0
        if self._snapshot.waiting and (not pace or not self._snapshot.throughput):
            return max(wait, self._snapshot.waited_seconds)
        return max(wait - elapsed, 0.0)

    def seconds_over_limit(self) -> float:
        """By how much that is too long; 0 when it is not."""
        return max(self.wait_seconds() - self._limit, 0.0) if self._limit else 0.0
