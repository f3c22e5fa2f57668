"""The SDK's count of spans, for those that are made without it."""

from collections.abc import Callable

from .aggregation import Counter
from .provider import AggregatingMeterProvider


class StartedSpans:
    """What the SDK counts of spans that it drops, by where their parent is.

    Args:
        meters: where the SDK counts its spans; None where it does not.
    """

    def __init__(self, meters: AggregatingMeterProvider | None) -> None:
        self._counter: Counter | None = None
        if meters is not None:
            self._counter = meters.instrument(
                Counter, "otel.sdk.span.started", "{span}", "The number of created spans."
            )
        self._adders: dict[str, Callable[[float], None]] = {}

    def add(self, origin: str) -> None:
        """Count one; `origin` is ``none``, ``remote`` or ``local``."""
        if self._counter is None:
            return
        adder = self._adders.get(origin)
        if adder is None:
            attributes = {"otel.span.parent.origin": origin, "otel.span.sampling_result": "DROP"}
            adder = self._adders[origin] = self._counter.bind(attributes)
        adder(1)
