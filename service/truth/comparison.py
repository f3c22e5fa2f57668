"""Compares the figures of the sources, row by row, to the integer."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from service.crowd import CrowdReport
from service.ledger.orders import COUNTED, ENDS, Status
from service.truth.receiver import SpanReceiver
from service.truth.sources import Figures

ROUTE = "POST /orders"
SETTLED = (Status.CONFIRMED, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Row:
    """One fact and what each source says of it; None where a source cannot know.

    Attributes:
        unanswered: By how much the clients may be short: requests without an answer, which the service may have served.
        unproven: Whether nobody can tell any more, whatever the figures are.
    """

    what: str
    clients: int | None
    ledger: int | None
    metrics: int | None
    spans: int | None
    unanswered: int = 0
    unproven: bool = False

    @property
    def agrees(self) -> bool:
        """Whether all who know say the same."""
        known = {figure for figure in (self.clients, self.ledger, self.metrics, self.spans) if figure is not None}
        return len(known) <= 1 and not self.unproven

    @property
    def explained(self) -> bool:
        """Whether what nobody knows explains why they differ, which does not prove that it is so."""
        others = {figure for figure in (self.ledger, self.metrics, self.spans) if figure is not None}
        if self.agrees or self.unproven or self.clients is None:
            return self.unproven
        return len(others) == 1 and self.clients <= others.pop() <= self.clients + self.unanswered


def compare(report: CrowdReport, figures: Figures, spans: SpanReceiver | None) -> list[Row]:
    """Every fact that more than one source knows.

    Args:
        report: What the clients saw. Nobody else may have used the service meanwhile.
        figures: What the ledger and the metrics grew by, read after the last order was settled.
        spans: What was received, when every trace was recorded and sent here; else None.
    """
    return [
        *_orders(report, figures, spans),
        *_unknown(report, figures),
        *_refusals(report, figures),
        *_answers(report, figures, spans),
    ]


def _orders(report: CrowdReport, figures: Figures, spans: SpanReceiver | None) -> Iterator[Row]:
    for status in COUNTED:
        in_spans = None
        if spans is not None and status in SETTLED:
            in_spans = spans.processed[status]
        clients = report.accepted if status is Status.PENDING else None
        if status is Status.CANCELLED:
            clients = sum(outcome.count for outcome in report.cancellations if outcome.status == 200)  # noqa: PLR2004
        unanswered = report.unknown if status is Status.PENDING else sum(report.cancellation_errors.values())
        what = "accepted" if status is Status.PENDING else str(status)
        ledger, metrics = figures.ledger_orders[status], figures.metric_orders[status]
        yield Row(f"orders {what}", clients, ledger, metrics, in_spans, unanswered)
    settled = sum(figures.ledger_orders[status] for status in ENDS)
    yield Row("orders that ended", figures.ledger_orders[Status.PENDING], settled, None, None)


def _unknown(report: CrowdReport, figures: Figures) -> Iterator[Row]:
    """Orders that had no answer; and those that their keys, if they had any, could not tell of either."""
    if report.unanswered:
        yield Row("orders without an answer", report.unanswered, None, None, None)
    if report.unknown:
        more = figures.ledger_orders[Status.PENDING] - report.accepted
        yield Row("orders still unknown", report.unknown, more, None, None, unproven=True)


def _refusals(report: CrowdReport, figures: Figures) -> Iterator[Row]:
    seen = report.refusals
    for reason in sorted({*seen, *+figures.ledger_refusals, *+figures.metric_refusals}):
        ledger, metrics = figures.ledger_refusals[reason], figures.metric_refusals[reason]
        yield Row(f"refused {reason}", seen[reason], ledger, metrics, None, sum(report.errors.values()))


def _answers(report: CrowdReport, figures: Figures, spans: SpanReceiver | None) -> Iterator[Row]:
    seen: Counter[int] = Counter()
    for outcome in report.outcomes:
        seen[outcome.status] += outcome.count
    lost = sum(report.errors.values())
    if lost:
        yield Row("requests without answer", lost, None, None, None)
    if figures.restarted:
        yield Row("processes that began anew", None, None, figures.restarted, None, unproven=True)
    known = {int(status) for status, count in figures.metric_requests.items() if count}
    for status in sorted(seen.keys() | known):
        in_spans = spans.served[ROUTE, status] if spans is not None else None
        counted = figures.metric_requests[str(status)]
        unproven = figures.restarted > 0 and counted != seen[status]
        yield Row(f"answers {status}", seen[status], None, counted, in_spans, lost, unproven)
