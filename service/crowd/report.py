"""What happened to a crowd: the tally while it runs, the report at the end."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from service.crowd.api_client import PLACED, Answer, Decision, NoResponse
from service.crowd.figures import Latencies, OrderIds, Percentiles
from service.crowd.plan import CrowdPlan


class Outcome(BaseModel):
    """How often the service gave one answer."""

    model_config = ConfigDict(frozen=True)

    status: int
    code: str
    count: int


class SettleReport(BaseModel):
    """What became of a sample of the accepted orders; the times are the service's own."""

    model_config = ConfigDict(frozen=True)

    watched: int
    settled: dict[str, int]
    unsettled: int
    missing: int
    time_to_settle_ms: Percentiles


class CrowdReport(BaseModel):
    """The result of a run.

    `orders` counts shoppers, `requests` their POSTs (an order sent twice is two). Each request is in
    `outcomes` or in `errors`. Each order is one of `accepted`; `refused`; `unreached`, when no connection was
    made; and `unknown`, when no answer came back, or one that leaves open whether the order exists. So the
    service has between `accepted` and `accepted + unknown` of them. `unanswered` orders had no answer that says it
    when the run was over; those of them that were found by their keys are no longer `unknown`. `unsent` orders were
    due before the end but found no free shopper: the service, or the crowd, did not keep the rate. Latencies count
    from the time an order was due.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    base_url: str
    run_id: str
    seed: int
    interrupted: bool
    seconds: float
    orders: int
    requests: int
    accepted: int
    refused: int
    unreached: int
    unknown: int
    unanswered: int
    unsent: int
    throughput: float
    outcomes: list[Outcome]
    errors: dict[str, int]
    cancellations: list[Outcome]
    cancellation_errors: dict[str, int]
    idempotency_violations: int
    accepted_latency_ms: Percentiles
    refused_latency_ms: Percentiles
    settling: SettleReport | None = None
    order_ids: OrderIds = Field(exclude=True, repr=False)

    @property
    def refusals(self) -> Counter[str]:
        """The codes of the requests that were answered and placed no order, and how often each was given."""
        counts: Counter[str] = Counter()
        for outcome in self.outcomes:
            if outcome.code not in PLACED:
                counts[outcome.code] += outcome.count
        return counts


class Fate(StrEnum):
    """What a shopper knows of an order: there is one; there is none; nobody was reached; or nobody knows."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREACHED = "unreached"
    UNKNOWN = "unknown"


def fate_of(answers: list[Answer | NoResponse]) -> Fate:
    """Return what all the answers to one order say of it together."""
    if any(isinstance(answer, Answer) and answer.order_id for answer in answers):
        return Fate.ACCEPTED
    if all(isinstance(answer, NoResponse) and not answer.arrived for answer in answers):
        return Fate.UNREACHED
    return Fate.REFUSED if all(_surely_no_order(answer) for answer in answers) else Fate.UNKNOWN


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running crowd stands; `fraction` is of the plan, None when it has no end."""

    seconds: float
    fraction: float | None
    orders: int
    accepted: int
    refused: int
    errors: int


class Tally:
    """Counts what comes back. The order ids are kept unless the plan says otherwise."""

    def __init__(self, plan: CrowdPlan) -> None:
        self._plan = plan
        self._outcomes: Counter[tuple[int, str]] = Counter()
        self._errors: Counter[str] = Counter()
        self._cancellations: Counter[tuple[int, str]] = Counter()
        self._cancellation_errors: Counter[str] = Counter()
        self._latencies = {decision: Latencies() for decision in Decision}
        self._order_ids = OrderIds()
        self._fates: Counter[Fate] = Counter()
        self._violations = self._found = 0
        self.orders = self.requests = self.unsent = 0

    def answered(self, answer: Answer | NoResponse, seconds: float) -> None:
        """Count the end of one request, `seconds` after it was due."""
        if isinstance(answer, NoResponse):
            self._errors[answer.kind] += 1
        else:
            self._outcomes[answer.status, answer.code] += 1
            self._latencies[answer.decision].add(seconds)

    def decided(self, answers: list[Answer | NoResponse]) -> str | None:
        """Count the fate of one order, given all the answers to it; return its id if it was accepted."""
        ids = {answer.order_id for answer in answers if isinstance(answer, Answer) and answer.order_id}
        self._fates[fate_of(answers)] += 1
        self._violations += max(len(ids) - 1, 0)
        if self._plan.keep_order_ids:
            for order_id in ids:
                self._order_ids.add(order_id)
        return min(ids, default=None)

    def found(self, answer: Answer) -> None:
        """Count the fate of an order that had no answer, as it was told when it was asked for again."""
        self._found += 1
        self.decided([answer])

    def cancelled(self, answer: Answer | NoResponse) -> None:
        """Count the end of one cancellation."""
        if isinstance(answer, NoResponse):
            self._cancellation_errors[answer.kind] += 1
        else:
            self._cancellations[answer.status, answer.code] += 1

    def progress(self, seconds: float) -> Progress:
        """Return where the run stands."""
        return Progress(
            seconds=seconds,
            fraction=self._fraction(seconds),
            orders=self.orders,
            accepted=self._fates[Fate.ACCEPTED],
            refused=self._fates[Fate.REFUSED],
            errors=self._errors.total(),
        )

    def report(self, seconds: float, *, interrupted: bool) -> CrowdReport:
        """Return the result; what was still on its way is an error `interrupted`, its fate unknown."""
        errors = Counter(self._errors)
        answered = self._outcomes.total()
        known = {fate: self._fates[fate] for fate in Fate if fate is not Fate.UNKNOWN}
        unknown = self.orders - sum(known.values())
        errors["interrupted"] += self.requests - answered - errors.total()
        return CrowdReport(
            base_url=self._plan.base_url,
            run_id=self._plan.run_id,
            seed=self._plan.seed,
            interrupted=interrupted,
            seconds=round(seconds, 3),
            orders=self.orders,
            requests=self.requests,
            **known,
            unknown=unknown,
            unanswered=unknown + self._found,
            unsent=self.unsent,
            throughput=round(answered / seconds, 1) if seconds else 0,
            outcomes=_outcomes(self._outcomes),
            errors=dict(sorted((+errors).items())),
            cancellations=_outcomes(self._cancellations),
            cancellation_errors=dict(sorted(self._cancellation_errors.items())),
            idempotency_violations=self._violations,
            accepted_latency_ms=self._latencies[Decision.ACCEPTED].percentiles(),
            refused_latency_ms=self._latencies[Decision.REFUSED].percentiles(),
            order_ids=self._order_ids,
        )

    def _fraction(self, seconds: float) -> float | None:
        of_orders = self.orders / self._plan.orders if self._plan.orders else None
        of_time = seconds / self._plan.duration.total_seconds() if self._plan.duration else None
        known = [fraction for fraction in (of_orders, of_time) if fraction is not None]
        return min(1.0, max(known)) if known else None


def _surely_no_order(answer: Answer | NoResponse) -> bool:
    return not answer.arrived if isinstance(answer, NoResponse) else answer.decision is Decision.REFUSED


def _outcomes(counts: Counter[tuple[int, str]]) -> list[Outcome]:
    return [Outcome(status=s, code=code, count=n) for (s, code), n in sorted(counts.items())]
