"""How many connections a process keeps open, and which of them goes when there are too many.

A connection costs a file descriptor, and who has none left is off the air. So there are never more than `limit`: one
more takes the place of the one that has been silent longest, that is, waits for its client's bytes. While none is
silent, a few more are let in for probes alone.
"""

import resource
import time
from collections import Counter
from typing import Protocol

import structlog

from service.metrics import HTTP_REFUSED

PROBES = frozenset((b"/healthz", b"/readyz", b"/metrics"))
PROBE_PLACES = 32
LOG_SECONDS = 10.0
OTHER_DESCRIPTORS = 128
"""What a process may open beside: probes, the store, its siblings, files."""


def allow_connections(wanted: int) -> int:
    """Raise this process's limit of open files as far as it goes, and return how many connections there is room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(soft - OTHER_DESCRIPTORS, 1)
    return wanted


class Evictable(Protocol):
    """A connection that can be ended to make room."""

    def evict(self) -> None:
        """End it at once."""


class Connections:
    """The open connections of one process.

    Args:
        limit: How many may be open at a time; `PROBE_PLACES` more for probes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.draining = False
        self.refused = Counter(dict.fromkeys(map(str, HTTP_REFUSED.attributes["reason"] or ()), 0))
        self._silent: dict[Evictable, None] = {}  # have sent no whole request yet; oldest first
        self._idle: dict[Evictable, None] = {}  # were answered, and may ask again; longest idle first
        self._log = structlog.get_logger("service.processes.connections")
        self._said: dict[str, float] = {}

    def opened(self, connection: Evictable, open_now: int) -> bool:
        """Take a new connection in.

        Args:
            connection: The new one.
            open_now: How many are open, the new one included.

        Returns:
            Whether it may ask for everything; else for a probe.
        """
        crowd = self._silent or self._idle
        if open_now > self.limit and crowd:
            victim = next(iter(crowd))
            self.busy(victim)
            self.count_refusal("evicted")
            victim.evict()
            open_now -= 1
        if open_now > self.limit + PROBE_PLACES:
            self.count_refusal("overloaded")
            connection.evict()
        else:
            self._silent[connection] = None
        return open_now <= self.limit

    def waiting(self, connection: Evictable) -> None:
        """Note that a connection was answered and that it is its client's turn."""
        self._idle[connection] = None

    def busy(self, connection: Evictable) -> None:
        """Note that a connection has sent a whole request, or is gone."""
        self._silent.pop(connection, None)
        self._idle.pop(connection, None)

    def count_refusal(self, reason: str) -> None:
        """Count a request or a connection that was refused; one line of log a reason each `LOG_SECONDS`."""
        self.refused[reason] += 1
        now = time.monotonic()
        if now - self._said.get(reason, -LOG_SECONDS) >= LOG_SECONDS:
            self._said[reason] = now
            self._log.warning("requests refused by the server", reason=reason, total=self.refused[reason])
