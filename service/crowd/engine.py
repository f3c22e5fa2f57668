"""Runs a crowd against a service.

With a rate the loop is open: orders are due at the times of a Poisson process, whether or not earlier ones
have been answered, and each latency counts from the time the order was due. So a service that stalls is charged
with the waiting of all who came meanwhile (no coordinated omission). Without a rate the loop is closed: each
of `concurrency` shoppers orders again as soon as it has an answer.

A lost connection is counted, and its shopper pauses a little: a restart of the service in mid-run is normal.
What became of an order that had no answer is found by sending it again under its key, once all others are over.
"""

import asyncio
from collections.abc import Callable, Iterator
from http import HTTPStatus
from time import perf_counter

from service.cancellation import cancel_and_wait
from service.crowd.api_client import Answer, ApiClient, Decision, NoResponse
from service.crowd.plan import CrowdPlan, PlannedOrder, planned_orders
from service.crowd.report import CrowdReport, Fate, Progress, Tally, fate_of

OnProgress = Callable[[Progress], None]

PROGRESS_SECONDS = 0.25
FIRST_PAUSE_SECONDS = 0.02
MAX_PAUSE_SECONDS = 0.5
LAST_ANSWERS_SECONDS = 2.0
READY_POLL_SECONDS = 0.5
FROM_MEMORY = frozenset({"rate_limited"})
"""Refusals that are given before the ledger is asked for the key."""


class CrowdError(Exception):
    """The crowd cannot start; the message is one line for the person who wanted it."""


async def run_crowd(
    plan: CrowdPlan, on_progress: OnProgress | None = None, over: asyncio.Event | None = None
) -> CrowdReport:
    """Run the plan to its end and return what happened.

    Cancelled, it lets the orders on their way be answered, for two seconds at most, and returns the report so
    far with `interrupted` set; it does not raise. `on_progress` is called about four times a second. Once `over` is
    set nobody orders any more, as when the duration is over.

    Raises:
        CrowdError: the plan names no products and the service tells of none that are for sale.
    """
    async with ApiClient(plan) as client:
        mix = plan.mix or await _products_for_sale(client, plan)
        return await _Crowd(plan, client, mix, over or asyncio.Event()).run(on_progress or _ignore)


async def wait_until_ready(plan: CrowdPlan) -> None:
    """Return as soon as the service says that it is ready; asks twice a second, for ever."""
    async with ApiClient(plan) as client:
        while not await client.ready():  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(READY_POLL_SECONDS)


async def _products_for_sale(client: ApiClient, plan: CrowdPlan) -> dict[str, float]:
    weights = await client.product_weights()
    if isinstance(weights, NoResponse):
        started = "" if weights.arrived else ": is the service started?"
        raise CrowdError(f"{plan.base_url} does not tell what is for sale ({weights.kind}){started}")
    if not weights:
        raise CrowdError(f"nothing is for sale at {plan.base_url}: no product's sale is open")
    return weights


def _ignore(_: Progress) -> None:
    """Do nothing with a progress."""


class _Crowd:
    """One run. The workers share one line of shoppers: whoever is free takes the next."""

    def __init__(self, plan: CrowdPlan, client: ApiClient, mix: dict[str, float], over: asyncio.Event) -> None:
        self._plan = plan
        self._client = client
        self._line = planned_orders(plan, mix)
        self._tally = Tally(plan)
        self._busy: set[int] = set()
        self._over = over
        self._unanswered: list[PlannedOrder] = []
        self._started = perf_counter()
        self._end = self._started + plan.duration.total_seconds() if plan.duration else float("inf")

    async def run(self, on_progress: OnProgress) -> CrowdReport:
        workers = [asyncio.create_task(self._worker(number)) for number in range(self._plan.concurrency)]
        interrupted = False
        try:
            try:
                await self._until_done(workers, on_progress)
                await self._ask_again()
            except asyncio.CancelledError:
                interrupted = True
                _uncancel()
                await self._last_answers(workers)
        finally:
            await cancel_and_wait(workers)
        if self._over.is_set():
            self._line.close()  # one without an end has no last order
        seconds = self._seconds()
        if self._plan.rate:  # the line of a closed loop may have no end
            self._tally.unsent += sum(1 for _ in self._line)
        on_progress(self._tally.progress(seconds))
        return self._tally.report(seconds, interrupted=interrupted)

    async def _until_done(self, workers: list[asyncio.Task[None]], on_progress: OnProgress) -> None:
        pending = set(workers)
        while pending:
            done, pending = await asyncio.wait(pending, timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            for worker in done:
                worker.result()
            on_progress(self._tally.progress(self._seconds()))

    async def _last_answers(self, workers: list[asyncio.Task[None]]) -> None:
        """End the workers that only wait, and let the others have the answer that they wait for."""
        self._line.close()
        for number, worker in enumerate(workers):
            if number not in self._busy:
                worker.cancel()
        await asyncio.wait(workers, timeout=LAST_ANSWERS_SECONDS)

    async def _worker(self, number: int) -> None:
        pause = FIRST_PAUSE_SECONDS
        for planned in self._line:
            due = await self._turn(planned)
            if due is None:
                self._tally.unsent += planned.due is not None
                return
            self._busy.add(number)
            reached = await self._serve(planned, due)
            self._busy.discard(number)
            if reached:
                pause = FIRST_PAUSE_SECONDS
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def _turn(self, planned: PlannedOrder) -> float | None:
        """Wait until the shopper is due and return that time; None when the run ends first."""
        now = perf_counter()
        if now >= self._end or self._over.is_set():
            return None
        if planned.due is None:
            return now
        due = self._started + planned.due
        if due > now:
            await asyncio.sleep(due - now)
        # uvloop's timers have a grain of a millisecond and may be early.
        return min(due, perf_counter())

    async def _serve(self, planned: PlannedOrder, due: float) -> bool:
        """Send one order and all that follows from it; return whether every request had an answer."""
        self._tally.orders += 1
        if planned.twice:
            answers = list(await asyncio.gather(self._place(planned, due), self._place(planned, due)))
        else:
            answers = [await self._place(planned, due)]
        order_id = self._tally.decided(answers)
        if planned.key is not None and fate_of(answers) is Fate.UNKNOWN:
            self._unanswered.append(planned)
        if order_id is not None and planned.cancels:
            self._tally.cancelled(await self._client.cancel(order_id))
        return not any(isinstance(answer, NoResponse) for answer in answers)

    async def _ask_again(self) -> None:
        end, asked = perf_counter() + self._plan.ask_again.total_seconds(), iter(self._unanswered)
        await asyncio.gather(*(self._find_all(asked, end) for _ in self._unanswered[: self._plan.concurrency]))

    async def _find_all(self, asked: Iterator[PlannedOrder], end: float) -> None:
        """Ask for one order after the other until it is told what became of it, or time is up."""
        pause = FIRST_PAUSE_SECONDS
        while perf_counter() < end and (planned := next(asked, None)) is not None:
            while not self._found(await self._place(planned, perf_counter())):
                left = end - perf_counter()
                if left <= 0:
                    return
                await asyncio.sleep(min(pause, left))
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
            pause = FIRST_PAUSE_SECONDS

    def _found(self, answer: Answer | NoResponse) -> bool:
        """Whether an answer tells what became of the order: that of the ledger, which was asked for its key."""
        if isinstance(answer, NoResponse) or answer.decision is Decision.FAILED:
            return False
        if answer.decision is Decision.REFUSED and (
            answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.code in FROM_MEMORY
        ):
            return False
        self._tally.found(answer)
        return True

    async def _place(self, planned: PlannedOrder, due: float) -> Answer | NoResponse:
        self._tally.requests += 1
        answer = await self._client.place(planned)
        self._tally.answered(answer, perf_counter() - due)
        return answer

    def _seconds(self) -> float:
        return perf_counter() - self._started


def _uncancel() -> None:
    """Take back the cancellation of this task: it has been heeded."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
