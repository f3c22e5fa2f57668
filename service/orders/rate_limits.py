"""How many orders a second one user, and one address, may send: over all processes, and what the answer says of it.

The store counts, and a process refuses from memory whom the store has told to wait: a robot costs no round trips.
"""

from collections.abc import Iterator
from math import ceil
from time import monotonic

from service.ledger.rates import FleetRates, Rate, RateAnswer
from service.problems import Problem

REMEMBERED = 100_000

Headers = dict[str, str]


class RateLimits:
    """The limits on orders of one process.

    Args:
        rates: Counts for all processes.
        per_user: Orders per second of one user; None for any number.
        per_address: Orders per second of one address; None for any number.
    """

    def __init__(self, rates: FleetRates, *, per_user: float | None, per_address: float | None) -> None:
        self._rates = rates
        given = {"user": per_user, "address": per_address}
        self._limits = {kind: Rate(per_second) for kind, per_second in given.items() if per_second}
        self._wait: dict[tuple[str, str], float] = {}
        self._policy = ", ".join(
            f'"{kind}";q={rate.quota};w={rate.window_seconds}' for kind, rate in self._limits.items()
        )

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return bool(self._limits)

    async def check(self, user_id: str, address: str | None) -> Headers:
        """Let pass who keeps the rates, and return what the answer says of them (RateLimit headers for HTTP).

        The address is asked first: who sends for many users is refused for all of them, and their rates are not used.

        Raises:
            Problem: 429 `rate_limited` with `Retry-After`.
            redis.exceptions.RedisError: The store is down.
        """
        answers: dict[str, RateAnswer] = {}
        for kind, who in self._asked(user_id, address):
            self._refuse_known(kind, who)
            answers[kind] = answer = await self._rates.count(kind, who, self._limits[kind])
            if answer.wait_seconds > 0:
                self._remember(kind, who, answer.wait_seconds)
                raise _refused(kind, answer.wait_seconds, self._headers(answers))
        return self._headers(answers)

    def _asked(self, user_id: str, address: str | None) -> Iterator[tuple[str, str]]:
        if address is not None and "address" in self._limits:
            yield "address", address
        if "user" in self._limits:
            yield "user", user_id

    def _refuse_known(self, kind: str, who: str) -> None:
        wait = self._wait.get((kind, who), 0) - monotonic()
        if wait > 0:
            raise _refused(kind, wait, self._headers({kind: RateAnswer(wait, 0, wait)}))

    def _remember(self, kind: str, who: str, seconds: float) -> None:
        now = monotonic()
        self._wait[kind, who] = now + seconds
        if len(self._wait) > REMEMBERED:
            self._wait = {key: until for key, until in self._wait.items() if until > now}

    def _headers(self, answers: dict[str, RateAnswer]) -> Headers:
        if not self._limits:
            return {}
        told = ", ".join(f'"{kind}";r={a.remaining};t={ceil(a.reset_seconds)}' for kind, a in answers.items())
        return {"RateLimit-Policy": self._policy} | ({"RateLimit": told} if told else {})


def _refused(kind: str, wait_seconds: float, headers: Headers) -> Problem:
    detail = f"Too many orders of this {kind}."
    return Problem("rate_limited", detail, headers={**headers, "Retry-After": str(ceil(wait_seconds))})
