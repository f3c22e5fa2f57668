"""How often each user may do something, kept by the generic cell rate algorithm (ITU-T I.371): one number a user."""

from math import ceil
from time import monotonic

from service.problems import Problem

USERS_REMEMBERED = 100_000


class UserRate:
    """The rate of one thing that users do, in this process.

    Args:
        per_second: How often each may do it; None for any rate.
        burst_seconds: What is due in so many seconds may come at once.
    """

    def __init__(self, per_second: float | None, burst_seconds: float) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._tolerance = max(burst_seconds - self._interval, 0)
        self._due: dict[str, float] = {}
        self._prune_at = USERS_REMEMBERED

    def check(self, user_id: str) -> None:
        """Let pass who keeps the rate.

        Raises:
            Problem: 429 `rate_limited` with `Retry-After`.
        """
        early = self._due.get(user_id, 0) - monotonic() - self._tolerance
        if early > 0:
            raise Problem("rate_limited", headers={"Retry-After": str(ceil(early))})

    def record(self, user_id: str) -> None:
        """Note that a user did it."""
        if not self._interval:
            return
        now = monotonic()
        self._due[user_id] = max(self._due.get(user_id, now), now) + self._interval
        if len(self._due) > self._prune_at:
            self._due = {user: due for user, due in self._due.items() if due > now}
            self._prune_at = max(USERS_REMEMBERED, 2 * len(self._due))
