"""The truth report: what clients saw, what the ledger holds, what `/metrics` says, what the spans tell, side by side.

`Witness` reads ledger and metrics before and after a crowd; `judge` says where two of them differ. Figures are
integers, and so is the judgement.
"""

from service.truth.comparison import Row, judge
from service.truth.receiver import SpanReceiver
from service.truth.sources import Figures, Witness

__all__ = ["Figures", "Row", "SpanReceiver", "Witness", "judge"]
