"""What a crowd counts: outcomes, latencies and the ids of accepted orders, in bounded or compact memory."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from telemetry.windows import Buckets, LatencyHistogram

BUCKETS = Buckets.up_to(3600, growth=1.01, min_seconds=1e-5)


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
    """Times in a histogram: small, whatever the number of measurements."""

    def __init__(self) -> None:
        self._times = LatencyHistogram(buckets=BUCKETS)
        self._max = 0.0

    def add(self, seconds: float) -> None:
        """Count one measurement."""
        self._times.record(seconds)
        self._max = max(self._max, seconds)

    def percentiles(self) -> Percentiles:
        """Return the figures so far."""
        p50, p90, p95, p99 = (
            _milliseconds(min(self._times.percentile(share), self._max)) for share in (0.5, 0.9, 0.95, 0.99)
        )
        return Percentiles(count=self._times.count, p50=p50, p90=p90, p95=p95, p99=p99, max=_milliseconds(self._max))


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
