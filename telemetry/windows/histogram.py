"""Distributions of durations: counts in fixed buckets that grow by a tenth, so that they can be added up anywhere.

A percentile that is read from the buckets is within `RELATIVE_ERROR` of the exact one for durations between
`MIN_SECONDS` and `MAX_SECONDS`. Shorter ones count as the one, longer ones as the other. Means are exact
to the microsecond.
"""

from collections import Counter
from dataclasses import dataclass, field
from math import ceil, sqrt

GROWTH = 1.1
MIN_SECONDS = 0.0001
RELATIVE_ERROR = sqrt(GROWTH) - 1
"""A bucket is told by the geometric mean of its bounds: 4.9 % off at most."""

BOUNDS = tuple(MIN_SECONDS * GROWTH**exponent for exponent in range(145))
MAX_SECONDS = BOUNDS[-1]


@dataclass(slots=True)
class LatencyHistogram:
    """Durations by bucket (the index of the upper bound in `BOUNDS`), and their sum."""

    buckets: Counter[int] = field(default_factory=Counter)
    microseconds: int = 0

    @property
    def count(self) -> int:
        """How many durations there are."""
        return self.buckets.total()

    @property
    def mean_seconds(self) -> float:
        """Their mean; 0 when there is none."""
        return self.microseconds / 1e6 / self.count if self.buckets else 0.0

    def add(self, other: "LatencyHistogram") -> None:
        """Take in another distribution."""
        self.buckets += other.buckets
        self.microseconds += other.microseconds

    def percentile(self, share: float) -> float:
        """Return the smallest duration, in seconds, that `share` of all do not exceed; 0 when there is none."""
        rank = max(ceil(share * self.count), 1)
        below = 0
        for bucket, count in sorted(self.buckets.items()):
            below += count
            if below >= rank:
                return _middle(bucket)
        return 0.0


def _middle(bucket: int) -> float:
    if bucket == 0:
        return MIN_SECONDS
    if bucket >= len(BOUNDS):
        return MAX_SECONDS
    return sqrt(BOUNDS[bucket - 1] * BOUNDS[bucket])
