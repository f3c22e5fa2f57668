"""How a crowd looks: a progress bar and a table on a terminal, plain lines anywhere else, or JSON."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from service.crowd.figures import Percentiles
from service.crowd.report import CrowdReport, Outcome, Progress, SettleReport
from service.terminal import wrapped

Show = Callable[[Progress], None]

LINE_EVERY_SECONDS = 5.0
RATE_OVER_SECONDS = 2.0


@contextmanager
def progress(stream: TextIO) -> Iterator[Show]:
    """Yield what shows the progress of a run on `stream`; a bar disappears at the end."""
    if not stream.isatty():
        yield _lines(stream)
        return
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(file=stream), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("the crowd gathers", total=None)
        rate = _rate()

        def show(now: Progress) -> None:
            total = None if now.fraction is None else 1.0
            bar.update(task, description=_line(now, rate(now)), total=total, completed=now.fraction or 0)

        yield show


def write_summary(report: CrowdReport, stream: TextIO) -> None:
    """Write the figures of a run: a table on a terminal, else a line for each."""
    if stream.isatty():
        table = Table(title=f"The crowd at {report.base_url}", show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column()
        for name, text in _rows(report):
            table.add_row(name, text)
        Console(file=stream).print(table)
    else:
        stream.writelines(wrapped(f"{name:<20} {text}") for name, text in _rows(report))
    stream.flush()


def write_json(report: CrowdReport, stream: TextIO) -> None:
    """Write the report as one JSON object."""
    stream.write(report.model_dump_json(indent=2) + "\n")
    stream.flush()


def _lines(stream: TextIO) -> Show:
    rate, next_at = _rate(), LINE_EVERY_SECONDS

    def show(now: Progress) -> None:
        nonlocal next_at
        if now.seconds >= next_at:
            next_at = now.seconds + LINE_EVERY_SECONDS
            stream.write(f"{now.seconds:7.1f} s  {_line(now, rate(now))}\n")
            stream.flush()

    return show


def _rate() -> Callable[[Progress], float]:
    """Return what tells the orders per second over the last two seconds, or since it was last asked if that is more."""
    seen = deque([(0.0, 0)])

    def rate(now: Progress) -> float:
        while len(seen) > 1 and now.seconds - seen[0][0] > RATE_OVER_SECONDS:
            seen.popleft()
        seconds, orders = seen[0]
        seen.append((now.seconds, now.orders))
        return (now.orders - orders) / (now.seconds - seconds) if now.seconds > seconds else 0.0

    return rate


def _line(now: Progress, rate: float) -> str:
    return (
        f"{rate:,.0f} orders/s, {now.orders:,} sent, {now.accepted:,} accepted, "
        f"{now.refused:,} refused, {now.errors:,} errors"
    )


def _rows(report: CrowdReport) -> Iterator[tuple[str, str]]:
    end = " (interrupted)" if report.interrupted else ""
    yield "orders", f"{report.orders:,} in {report.seconds:.1f} s{end}, {report.requests:,} requests"
    yield "answers per second", f"{report.throughput:,.1f}"
    yield "accepted", f"{report.accepted:,}"
    yield "refused", f"{report.refused:,}"
    yield "fate unknown", f"{report.unknown:,}"
    if report.unanswered > report.unknown:
        yield "found by their keys", f"{report.unanswered - report.unknown:,}: they had no answer at first"
    yield "never reached it", f"{report.unreached:,}"
    if report.unsent:
        yield "due but not sent", f"{report.unsent:,}: the rate was not kept; more --concurrency may help"
    yield from _outcomes("answer", report.outcomes)
    yield from (("error", f"{count:,} {kind}") for kind, count in report.errors.items())
    yield from _outcomes("cancellation", report.cancellations)
    yield from (("cancellation error", f"{n:,} {kind}") for kind, n in report.cancellation_errors.items())
    if report.idempotency_violations:
        yield "TWO ORDERS, ONE KEY", f"{report.idempotency_violations:,} times: the service is wrong"
    yield "accepted within", _times(report.accepted_latency_ms)
    yield "refused within", _times(report.refused_latency_ms)
    if report.settling is not None:
        yield from _settling(report.settling)
    yield "seed, run", f"{report.seed}, {report.run_id}"


def _outcomes(name: str, outcomes: list[Outcome]) -> Iterator[tuple[str, str]]:
    for outcome in outcomes:
        yield f"{name} {outcome.status}", f"{outcome.count:,} {outcome.code}"


def _settling(settling: SettleReport) -> Iterator[tuple[str, str]]:
    fates = [f"{count:,} {status}" for status, count in settling.settled.items()]
    fates += [f"{settling.unsettled:,} unsettled"] if settling.unsettled else []
    fates += [f"{settling.missing:,} MISSING"] if settling.missing else []
    yield f"of {settling.watched:,} watched", ", ".join(fates) or "none"
    yield "settled within", _times(settling.time_to_settle_ms)


def _times(times: Percentiles) -> str:
    if not times.count:
        return "-"
    return (
        f"p50 {times.p50:,.1f}  p90 {times.p90:,.1f}  p95 {times.p95:,.1f}  "
        f"p99 {times.p99:,.1f}  max {times.max:,.1f} ms"
    )
