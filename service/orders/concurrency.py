"""How many orders a worker has in hand at one time: as many as get their payments answered in time.

Payments that share a busy machine, or a gateway that is short of breath, may all be answered too late, and so all be
asked again: then nothing gets done, however long it goes on. So a payment without an answer in time cuts the limit to a
quarter of what is under way, once for all that are under way together, and each answer raises it by one: it doubles in
the time of an answer.
"""

from collections.abc import Callable
from time import monotonic

MIN_LIMIT = 4
CUT = 4


class ConcurrencyLimit:
    """The limit of one worker.

    Args:
        ceiling: Never more than this.
        clock: Seconds that only grow.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float] = monotonic) -> None:
        self.ceiling = ceiling
        self.value = ceiling
        self._clock = clock
        self._cut_at = float("-inf")
        self._under_way = 0

    def begin(self) -> float:
        """Note that a payment begins; return when, to be given back when it ended."""
        self._under_way += 1
        return self._clock()

    def end(self, begun: float, *, in_time: bool) -> None:
        """Note that a payment ended: with an answer of whatever kind, or with none in time."""
        if in_time:
            self.value = min(self.value + 1, self.ceiling)
        elif begun >= self._cut_at:
            self._cut_at = self._clock()
            self.value = min(max(min(self._under_way, self.value) // CUT, MIN_LIMIT), self.ceiling)
        self._under_way -= 1
