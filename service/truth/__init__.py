"""The truth report: what clients saw, what the ledger holds, what `/metrics` says, what the spans tell, side by side.

`MetricSources` reads ledger and metrics before and after a crowd; `compare` says where two of them differ. Figures are
integers, and so is the comparison.
"""

from service.truth.comparison import Row, compare
from service.truth.receiver import SpanReceiver
from service.truth.sources import Figures, MetricSources, TargetError, scrape

__all__ = ["Figures", "MetricSources", "Row", "SpanReceiver", "TargetError", "compare", "scrape"]
