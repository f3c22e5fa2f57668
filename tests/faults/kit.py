"""What the fault tests share: fleets without a blocked event loop, an auditor with the store's own key, a crowd."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from service.crowd import CrowdPlan, CrowdReport, Progress, run_crowd
from service.ledger.audit import LedgerDump, dump_ledger, violations
from service.ledger.ledger import ledger_scripts
from service.ledger.order_table import LIVE
from service.ledger.orders import Status
from service.ledger.snapshot import take_snapshot
from service.store import STORE_ERRORS, Shards, connect, keys
from tests.faults.bank import Bank
from tests.support.counts import BACK, PLACED, compared, count, longest, sold
from tests.support.http import http_client
from tests.support.service import ADMIN, Fleet
from tests.support.waiting import wait_until

PRODUCT = "phone"
SETTLE_SECONDS = 60
SHUTDOWN_SECONDS = 4


@contextmanager
def back(within_seconds: float, what: str) -> Iterator[None]:
    """Assert that what comes back by itself after a fault does so in time; the time is told."""
    began = perf_counter()
    yield
    took = perf_counter() - began
    longest(BACK, took)
    assert took < within_seconds, what


@asynccontextmanager
async def fleet(store: Any, **options: Any) -> AsyncIterator[Fleet]:
    """Start a fleet and end it, both in a thread: what runs in the test's event loop goes on meanwhile."""
    stack = ExitStack()
    running = await asyncio.to_thread(stack.enter_context, Fleet(store, **options))
    try:
        yield running
    finally:
        await asyncio.to_thread(stack.__exit__, *sys.exc_info())


@asynccontextmanager
async def sale(
    store: str,
    *,
    api: int = 1,
    workers: int = 1,
    env: Mapping[str, str] | None = None,
    api_env: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[Fleet, Fleet]]:
    """Start `flash-sale api` and `flash-sale worker` at one time; `env` is the worker's."""
    async with AsyncExitStack() as stack:
        fleets = [
            fleet(store, command="api", api=api, env=api_env),
            fleet(store, command="worker", workers=workers, env=env),
        ]
        started = await asyncio.gather(*map(stack.enter_async_context, fleets), return_exceptions=True)
        for one in started:
            if isinstance(one, BaseException):
                raise one
        api_fleet, worker_fleet = (one for one in started if isinstance(one, Fleet))
        yield api_fleet, worker_fleet


async def buy(url: str, orders: int, *, keys: str = "") -> list[str]:
    """Place orders of one unit by different users, and return their ids.

    With `keys` each has an idempotency key that begins so: the ledger decides, whatever a process remembers.
    """
    async with http_client(url, timeout=15) as client:
        bodies = [{"product_id": PRODUCT, "user_id": f"u{n}", "quantity": 1} for n in range(orders)]
        headers = [{"Idempotency-Key": f"{keys}-{n}"} if keys else {} for n in range(orders)]
        sent = (client.post("/orders", json=b, headers=h) for b, h in zip(bodies, headers, strict=True))
        answers = await asyncio.gather(*sent)
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers[:2]]
    return [answer.json()["order_id"] for answer in answers]


async def put_product(url: str, product_id: str = PRODUCT, *, stock: int, limit: int | None = None) -> None:
    """Create a product whose sale is open."""
    body = {"name": product_id, "price": 100, "currency": "EUR", "stock": stock, "per_user_limit": limit}
    async with http_client(url, headers=ADMIN, timeout=15) as client:
        answer = await client.put(f"/inventory/{product_id}", json=body)
        assert answer.is_success, answer.text


def crowd_plan(url: str, seed: int, **options: Any) -> CrowdPlan:
    """Plan a crowd for the one product; numbers that a test does not care about have defaults."""
    defaults: dict[str, Any] = {"users": 100_000, "mix": {PRODUCT: 1.0}, "quantities": {1: 1.0}, "concurrency": 32}
    return CrowdPlan(base_url=url, seed=seed, **{**defaults, "timeout": timedelta(seconds=15), **options})


class Auditor:
    """Reads the books of a store; every reading must find them in order."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, prefix: str = "") -> AsyncIterator["Auditor"]:
        """Open the store at `url`; `prefix` as `STORE_PREFIX` has it."""
        async with connect(url, name="auditor", timeout_seconds=10) as client:
            yield cls(Shards(client, ledger_scripts(), prefix=prefix))

    @property
    def client(self) -> Redis:
        """The connection to the store."""
        return self.shards.client

    async def dump(self) -> LedgerDump:
        """Read the whole ledger, which must be in order."""
        dump = await dump_ledger(self.shards)
        assert violations(dump) == []
        return dump

    async def queue_length(self) -> int | None:
        """The orders waiting or being processed; None while the store is down."""
        try:
            return (await take_snapshot(self.shards)).queue_length
        except STORE_ERRORS:
            return None

    async def _what_waits(self) -> str:
        dump, queue = await dump_ledger(self.shards), keys.queue(0, self.shards.prefix)
        live = [order for order in dump.orders.values() if order.status in LIVE]
        held = await self.client.xpending_range(queue, keys.GROUP, "-", "+", 20)
        return f"live: {live[:5]}\nheld: {held}\nworkers: {dump.snapshot.workers}\ndelayed: {dump.delayed}"

    async def no_refund_owed(self) -> bool:
        """Whether every payment that had to be given back has been looked after."""
        return await self.client.zcard(keys.prefix(0, self.shards.prefix) + "refunds") == 0

    async def at_rest(self, deadline_seconds: float = SETTLE_SECONDS) -> LedgerDump:
        """Wait until every order has its end, and read the ledger."""

        async def empty() -> bool:
            return await self.queue_length() == 0

        try:
            await wait_until(empty, deadline_seconds, "every order has been settled")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self._what_waits()}") from None
        dump = await self.dump()
        compared(dump.orders.keys())
        assert [order for order in dump.orders.values() if order.status in LIVE] == []
        return dump


def statuses(dump: LedgerDump) -> Counter[str]:
    """How many orders there are of each status."""
    return Counter(str(order.status) for order in dump.orders.values())


def assert_kept(dump: LedgerDump, *reports: CrowdReport) -> None:
    """Assert that each order that a client of a crowd saw accepted is there, and none that nobody asked for."""
    seen = {order_id for report in reports for order_id in report.order_ids}
    accepted, unknown = sum(report.accepted for report in reports), sum(report.unknown for report in reports)
    twice = sum(report.idempotency_violations for report in reports)
    compared(dump.orders.keys())
    count("doubled", twice)
    assert sorted(seen - dump.orders.keys()) == []
    assert accepted <= len(dump.orders) <= accepted + unknown, reports
    assert twice == 0


def assert_paid_once(bank: Bank, dump: LedgerDump) -> None:
    """Assert that the bank kept the money of each confirmed order once, and of no other."""
    confirmed = {order.order_id for order in dump.orders.values() if order.status is Status.CONFIRMED}
    kept = bank.kept()
    assert bank.wrong == []
    assert {order_id: n for order_id, n in kept.items() if n != 1} == {}
    assert (sorted(kept.keys() - confirmed), sorted(confirmed - kept.keys())) == ([], [])


async def metric(url: str, name: str, label: str) -> dict[str, float]:
    """Scrape once and return the series of one metric, summed by one label."""
    async with httpx.AsyncClient(timeout=15) as client:
        text = (await client.get(f"{url}/metrics")).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels[label]] = found.get(sample.labels[label], 0) + sample.value
    return found


def codes(report: CrowdReport) -> dict[tuple[int, str], int]:
    """The answers of a crowd by status and code."""
    return {(outcome.status, outcome.code): outcome.count for outcome in report.outcomes}


async def posts_by_worker(url: str, workers: int) -> dict[str, float]:
    """Scrape until every API process has answered; return how many `POST /orders` each has served."""
    found: dict[str, float] = {}

    async def all_seen() -> bool:
        async with httpx.AsyncClient(timeout=15) as client:
            text = (await client.get(f"{url}/metrics")).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                if sample.name == "http_server_request_duration_seconds_count" and (
                    labels["http_request_method"], labels["http_route"]) == ("POST", "/orders"):  # fmt: skip
                    found[labels["worker"]] = found.get(labels["worker"], 0) + sample.value
        return len(found) >= workers

    await wait_until(all_seen, 15, f"{workers} API processes have served orders")
    return found


class Load:
    """A crowd without an end, for as long as the block lasts; `report` is there after it."""

    def __init__(self, plan: CrowdPlan) -> None:
        self._plan = plan
        self._progress: Progress | None = None
        self._over = asyncio.Event()
        self._told = 0
        self.report: CrowdReport

    @property
    def accepted(self) -> int:
        """The orders that clients saw accepted so far."""
        return self._progress.accepted if self._progress else 0

    async def more(self, orders: int, deadline_seconds: float = 30) -> None:
        """Wait until so many more orders have been accepted."""
        goal = self.accepted + orders
        await wait_until(lambda: self.accepted >= goal, deadline_seconds, f"{orders} more orders are accepted")

    def _note(self, progress: Progress) -> None:
        self._progress = progress
        sold(progress.accepted - self._told)
        self._told = progress.accepted

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(run_crowd(self._plan, self._note, self._over))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._over.set()  # what became of orders without an answer is asked for, if the plan says so
        else:
            self._task.cancel()
        self.report = await self._task
        count("sent", self.report.orders)
        sold(self.report.accepted - self._told)
        count("unsure", self.report.unknown)
        PLACED.update(self.report.order_ids)
