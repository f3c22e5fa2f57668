"""The instruments by which the telemetry measures itself, in the order in which a list of metrics shows them."""

from .export.health import FAILURES
from .http.late_spans import LATE_SPANS
from .metrics.instruments import DROPPED, OVERFLOWED
from .prometheus.multiprocess import UNREACHABLE
from .traces.sampling import SAMPLING_RATIO

SELF_SPECS = (SAMPLING_RATIO, LATE_SPANS, DROPPED, OVERFLOWED, FAILURES, UNREACHABLE)
