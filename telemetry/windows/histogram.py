"""Distributions of durations: counts in buckets that grow by a fixed factor, so that they can be added up anywhere.

A percentile that is read from the buckets is within `Buckets.relative_error` of the exact one for durations between
`Buckets.min_seconds` and `Buckets.max_seconds`. Shorter ones count as the one, longer ones as the other.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from math import ceil, log, sqrt


@dataclass(frozen=True, slots=True)
class Buckets:
    """Where the buckets of a histogram end.

    Attributes:
        growth: How many times as long the longest duration of a bucket is as that of the bucket below; more than 1.
        min_seconds: The end of the first bucket.
        bounds: The ends of all buckets, in seconds; what is longer than the last counts in one bucket more.
    """

    growth: float
    min_seconds: float
    bounds: tuple[float, ...]

    @classmethod
    def up_to(cls, max_seconds: float, *, growth: float, min_seconds: float) -> "Buckets":
        """Lay out buckets from `min_seconds` to at least `max_seconds`."""
        steps = ceil(log(max_seconds / min_seconds, growth))
        return cls(growth, min_seconds, tuple(min_seconds * growth**exponent for exponent in range(steps + 1)))

    @property
    def max_seconds(self) -> float:
        """The end of the last bucket, in seconds."""
        return self.bounds[-1]

    @property
    def relative_error(self) -> float:
        """How far a percentile may be off, as a share: a bucket is told by the geometric mean of its bounds."""
        return sqrt(self.growth) - 1

    def index(self, seconds: float) -> int:
        """Return the bucket of a duration."""
        return bisect_left(self.bounds, seconds)

    def middle(self, bucket: int) -> float:
        """Return what a bucket is told by, in seconds."""
        if bucket == 0:
            return self.min_seconds
        if bucket >= len(self.bounds):
            return self.max_seconds
        return sqrt(self.bounds[bucket - 1] * self.bounds[bucket])


WINDOW_BUCKETS = Buckets.up_to(91.0, growth=1.1, min_seconds=0.0001)
"""Those of the windows in Redis, the same in every process of every version: a percentile is at most 4.9 % off."""
BOUNDS = WINDOW_BUCKETS.bounds


@dataclass(slots=True)
class LatencyHistogram:
    """Durations by bucket (see `Buckets.index`), and their sum, so that the mean is exact to the microsecond."""

    counts: Counter[int] = field(default_factory=Counter)
    microseconds: int = 0
    buckets: Buckets = WINDOW_BUCKETS

    @property
    def count(self) -> int:
        """How many durations there are."""
        return self.counts.total()

    @property
    def mean_seconds(self) -> float:
        """Their mean; 0 when there is none."""
        return self.microseconds / 1e6 / self.count if self.counts else 0.0

    def record(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[self.buckets.index(seconds)] += 1
        self.microseconds += round(seconds * 1e6)

    def add(self, other: "LatencyHistogram") -> None:
        """Take in another distribution.

        Raises:
            ValueError: Its buckets are others.
        """
        if other.buckets != self.buckets:
            raise ValueError("histograms of different buckets cannot be added up")
        self.counts += other.counts
        self.microseconds += other.microseconds

    def percentile(self, share: float) -> float:
        """Return the smallest duration, in seconds, that `share` of all do not exceed; 0 when there is none."""
        rank = max(ceil(share * self.count), 1)
        below = 0
        for bucket, count in sorted(self.counts.items()):
            below += count
            if below >= rank:
                return self.buckets.middle(bucket)
        return 0.0
