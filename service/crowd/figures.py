"""What a crowd counts: outcomes, latencies and the ids of accepted orders, in bounded or compact memory."""

import math
from collections import Counter
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

SHORTEST_SECONDS = 1e-5
GROWTH = 1.01


class Percentiles(BaseModel):
    """A distribution of times in milliseconds, within 0.5 %; `max` is exact. Without any it is all zero."""

    model_config = ConfigDict(frozen=True)

    count: int = 0
    p50: float = 0
    p90: float = 0
    p95: float = 0
    p99: float = 0
    max: float = 0


class Latencies:
    """A histogram with buckets that grow by one percent: small, whatever the number of measurements."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._max = 0.0

    def add(self, seconds: float) -> None:
        """Count one measurement."""
        self._buckets[math.floor(math.log(max(seconds, SHORTEST_SECONDS) / SHORTEST_SECONDS, GROWTH))] += 1
        self._max = max(self._max, seconds)

    def percentiles(self) -> Percentiles:
        """Return the figures so far."""
        total = self._buckets.total()
        if not total:
            return Percentiles()
        p50, p90, p95, p99 = (self._quantile(total, share) for share in (0.5, 0.9, 0.95, 0.99))
        return Percentiles(count=total, p50=p50, p90=p90, p95=p95, p99=p99, max=_milliseconds(self._max))

    def _quantile(self, total: int, share: float) -> float:
        """Return the middle of the bucket that holds the measurement of that rank, in milliseconds."""
        rank, seen = math.ceil(share * total), 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                middle = SHORTEST_SECONDS * GROWTH ** (bucket + 0.5)
                return _milliseconds(min(middle, self._max))
        raise AssertionError("a rank is at most the total")  # pragma: no cover


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


class OrderIds:
    """Ids in the order of their acceptance, at their length plus one byte each."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._count = 0

    def add(self, order_id: str) -> None:
        """Append an id."""
        self._text += order_id.encode() + b"\n"
        self._count += 1

    def sample(self, limit: int) -> list[str]:
        """Return at most `limit` ids, evenly spread over the run."""
        ids = list(self)
        return [ids[number * len(ids) // limit] for number in range(limit)] if len(ids) > limit else ids

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return (line.decode() for line in bytes(self._text).splitlines())
