"""What the telemetry measures of itself, and instruments as a table: for a page that lists a service's metrics."""

from .export.health import FAILURES
from .http.late_spans import LATE_SPANS
from .logs.handler import LOG_LINES_DROPPED
from .metrics.instruments import DROPPED, OVERFLOWED
from .metrics.markdown import instrument_table
from .prometheus.peer_scrape import LOST, UNREACHABLE
from .traces.sampling import SAMPLING_RATIO

__all__ = ["SELF_SPECS", "instrument_table"]

SELF_SPECS = (SAMPLING_RATIO, LATE_SPANS, DROPPED, OVERFLOWED, FAILURES, UNREACHABLE, LOST, LOG_LINES_DROPPED)
"""The instruments of the telemetry itself, in the order in which a list shows them."""
