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
        self._promised = self._promised_at = 0.0

    def refresh(self, snapshot: Snapshot, asked: float) -> None:
        """Learn from a snapshot, which was asked for at `asked`."""
        self._snapshot, self._asked, self._joined = snapshot, asked, 0

    def record_enqueued(self, orders: int, promised: float = 0.0) -> None:
        """Note that this process placed so many orders.

        Args:
            orders: How many.
            promised: The wait that the ledger promised the last of them, which knows what other processes placed.
        """
        self._joined += orders
        self._promised, self._promised_at = promised, self._clock()

    def wait_seconds(self) -> float:
        """How long an order placed now would wait; 0 when nothing is known."""
        elapsed = self._clock() - self._asked
        if self._snapshot is None:
            return 0.0
        pace = self._snapshot.capacity and self._snapshot.drain_rate  # no pace is known before a line was seen
        promised = max(self._promised - (self._clock() - self._promised_at), 0.0) if pace else 0.0
        if elapsed > STALE_SECONDS:
            return promised
        waiting = self._snapshot.waiting + self._joined
        wait = waiting / pace if pace else 0.0
        if self._snapshot.waiting and (not pace or not self._snapshot.throughput):
            return max(wait, self._snapshot.waited_seconds)
        return max(wait - elapsed, promised)

    def seconds_over_limit(self) -> float:
        """By how much that is too long; 0 when it is not."""
        return max(self.wait_seconds() - self._limit, 0.0) if self._limit else 0.0
