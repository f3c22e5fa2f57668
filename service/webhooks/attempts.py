"""When an endpoint is tried, and when it is left alone.

An endpoint that fails is tried by few events, after pauses that double. An event that it refuses, or never answers,
while it takes others has longer pauses of its own, and costs the others nothing.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import NamedTuple, Protocol

import structlog

from service.cancellation import cancel_and_wait
from service.ledger.feed import Change
from service.metrics import WEBHOOK_DELIVERIES
from telemetry import Telemetry

FIRST_PAUSE_SECONDS = 1.0
MAX_ENDPOINT_PAUSE_SECONDS = 30.0
MAX_EVENT_PAUSE_SECONDS = 300.0
MAX_RETRY_AFTER_SECONDS = 3600.0
GONE_SECONDS = 3600.0
"""How long an endpoint is left alone that wants no more; a worker that is started tries it at once."""
ATTEMPTS_BEFORE_GIVING_UP = 20
"""More than an hour of pauses, for one event."""
MAX_CONNECTIONS = 16
"""How many attempts are under way at most; half of them may be of events that failed before."""
LOOK_SECONDS = 0.5


class Outcome(StrEnum):
    """What became of an attempt; `gone`: the endpoint wants no more (410)."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"


class Attempt(NamedTuple):
    """An outcome, why it was no better, and how many seconds the endpoint wants to be left alone."""

    outcome: Outcome
    why: str = ""
    retry_after: float | None = None


class Endpoint(Protocol):
    """Who is told."""

    async def post(self, event_id: str, body: bytes) -> Attempt:
        """Make one attempt."""
        ...


@dataclass(slots=True, eq=False)
class Pending:
    """A change that is to be delivered: how often that was tried, and when it may be tried again."""

    change: Change
    body: bytes
    attempts: int = 0
    not_before: float = 0.0
    done: bool = False
    delivered_before: int = 0
    """How many deliveries there were when it first failed."""


def pause_after(failures: int, most: float) -> float:
    """Return how many seconds to wait after so many failures in a row: doubled each time, up to `most`, with jitter."""
    longest: float = min(FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 30), most)
    return longest * random.uniform(0.5, 1)


class Attempts:
    """The attempts of one process at one endpoint."""

    def __init__(self, endpoint: Endpoint, telemetry: Telemetry, clock: Callable[[], float] = monotonic) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._under_way, self._again = asyncio.Semaphore(MAX_CONNECTIONS), asyncio.Semaphore(MAX_CONNECTIONS // 2)
        self._trial = {is_first: asyncio.Semaphore(1) for is_first in (True, False)}
        self._failures = 0
        self._delivered = 0
        self._not_before = self._asked_until = 0.0
        self._count = telemetry.counter(WEBHOOK_DELIVERIES)
        self._log = structlog.get_logger("service.webhooks")

    def is_due(self, pending: Pending) -> bool:
        """Whether this event may be tried now."""
        return self._clock() >= max(self._not_before, self._asked_until, pending.not_before)

    async def make(self, pending: Pending, allowed: Callable[[], bool]) -> bool:
        """Make an attempt if it is time, for as long as that is allowed; return whether the event is done with."""
        async with self._turn(pending):
            if not self.is_due(pending) or not allowed():
                return False
            delivered_before = self._delivered
            attempt = await self._while(allowed, pending)
        if attempt is None:
            return False
        self._learn(attempt, pending, delivered_before)
        return pending.done

    @asynccontextmanager
    async def _turn(self, pending: Pending) -> AsyncIterator[None]:
        """Wait until one more attempt may be under way.

        An event that hangs is tried beside those that never were: one of each kind while the endpoint fails.
        """
        async with AsyncExitStack() as stack:
            if self._failures:
                async with AsyncExitStack() as trial:
                    await trial.enter_async_context(self._trial[pending.attempts == 0])
                    if self._failures:  # else it takes events again, and many at a time
                        stack.push_async_exit(trial.pop_all())
            if pending.attempts:
                await stack.enter_async_context(self._again)
            await stack.enter_async_context(self._under_way)
            yield

    def give_up(self, pending: Pending) -> bool:
        """Be done with an event that the endpoint goes on refusing while it takes others; return whether it is one."""
        if pending.done or pending.attempts < ATTEMPTS_BEFORE_GIVING_UP or self._delivered <= pending.delivered_before:
            return False
        self._count.add(1, {"result": "given_up"})
        event_id = pending.change.event_id
        self._log.error("an event is given up that the webhook's endpoint refuses", event_id=event_id)
        pending.done, pending.body = True, b""
        return True

    async def _while(self, allowed: Callable[[], bool], pending: Pending) -> Attempt | None:
        posting = asyncio.create_task(self._endpoint.post(pending.change.event_id, pending.body))
        try:
            while not posting.done():
                await asyncio.wait([posting], timeout=LOOK_SECONDS)
                if not posting.done() and not allowed():
                    return None
            return posting.result()
        finally:
            await cancel_and_wait([posting])

    def _learn(self, attempt: Attempt, pending: Pending, delivered_before: int) -> None:
        self._count.add(1, {"result": attempt.outcome})
        if attempt.outcome is Outcome.DELIVERED:
            if self._failures:
                self._log.info("the webhook's endpoint takes events again")
            self._failures, self._not_before = 0, 0.0
            self._delivered += 1
            pending.done, pending.body = True, b""
            return
        is_first = not pending.attempts
        if is_first:
            pending.delivered_before = delivered_before
        pending.attempts += 1
        takes_others = self._delivered > pending.delivered_before
        most = MAX_EVENT_PAUSE_SECONDS if takes_others else MAX_ENDPOINT_PAUSE_SECONDS
        pause = pause_after(pending.attempts, most)
        pending.not_before = self._clock() + pause
        if attempt.outcome is Outcome.GONE or attempt.retry_after is not None:
            pause = self._keep_to(attempt)
        elif takes_others:
            event_id = pending.change.event_id
            self._log.warning(
                "the webhook's endpoint takes others and not this event",
                why=attempt.why,
                event_id=event_id,
                pause_seconds=round(pause, 1),
            )
            return
        elif self._clock() >= self._not_before:  # of several failures at one time one counts
            pause = self._leave_alone(is_first)
        else:
            return
        log = self._log.error if attempt.outcome is Outcome.GONE else self._log.warning
        event_id = pending.change.event_id
        log("the webhook's endpoint failed", why=attempt.why, event_id=event_id, pause_seconds=round(pause, 1))

    def _keep_to(self, attempt: Attempt) -> float:
        """Pause for as long as the endpoint asks for."""
        asked = GONE_SECONDS if attempt.outcome is Outcome.GONE else attempt.retry_after or 0.0
        pause = min(asked, MAX_RETRY_AFTER_SECONDS)
        self._asked_until = max(self._asked_until, self._clock() + pause)
        self._failures = max(self._failures, 1)
        return pause

    def _leave_alone(self, is_first: bool) -> float:
        """Pause: longer each time that the endpoint takes no other event, either; one alone may be at fault itself."""
        self._failures = max(self._failures + is_first, 1)
        pause = pause_after(self._failures, MAX_ENDPOINT_PAUSE_SECONDS)
        self._not_before = self._clock() + pause
        return pause
