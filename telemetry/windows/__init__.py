"""Request statistics of all processes of a service, kept in Redis: a small library of its own.

`RequestWindows` gathers in memory what requests were, sends it once a second, and reads the `WindowStats` of the whole
service. `NumberedSender` is what makes a batch count once however often it is sent. Needs ``redis``; nothing else in
`telemetry` imports it.
"""

from .histogram import Buckets, LatencyHistogram
from .numbered_sender import NumberedSender
from .statistics import Failure, Series, Slot, WindowStats
from .windows import KEEP_SECONDS, MAX_ERRORS, SLOT_SECONDS, RequestWindows

__all__ = [
    "KEEP_SECONDS",
    "MAX_ERRORS",
    "SLOT_SECONDS",
    "Buckets",
    "Failure",
    "LatencyHistogram",
    "NumberedSender",
    "RequestWindows",
    "Series",
    "Slot",
    "WindowStats",
]
