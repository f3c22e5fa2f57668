"""A sale on a store that something happens to, and four witnesses of it who must agree afterwards to the integer.

The clients, the ledger, `/metrics` and the spans are held against each other as `flash-sale crowd --truth` does it, the
books are audited, and each order that a client saw accepted is looked for.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise

from service.crowd import CrowdReport
from service.ledger.ledger import ledger_scripts
from service.ledger.orders import shard_of_order
from service.store import STORE_ERRORS, Shards, connect, keys
from service.truth import Figures, MetricSources, Row, SpanReceiver, TargetError, compare
from tests.faults.kit import Auditor, Load, crowd_plan, put_product, sale
from tests.support.waiting import wait_until

TRUE_WITHIN_SECONDS = 20
STOCK = 10_000_000
MADE = slice(2, 14)
"""The digits of an order id that say when it was asked for, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a sale.

    `asleep` is the longest time in which a shard took no order, by when those that it took were asked for; `true_after`
    how long after the last answer all witnesses agreed.
    """

    report: CrowdReport
    asleep: Mapping[int, float]
    true_after: float

    @property
    def longest(self) -> float:
        """Of the shards the one that took no order for the longest time."""
        return max(self.asleep.values())


class Witnessed:
    """The sale: fleets, spans, and the store as an auditor sees it."""

    def __init__(self, url: str, products: Sequence[str], sources: MetricSources, spans: SpanReceiver) -> None:
        self.url = url
        self.products = products
        self.auditor: Auditor
        self._sources = sources
        self._spans = spans

    async def through(self, happen: Callable[[Load], Awaitable[None]], seed: int, *, concurrency: int = 16) -> Told:
        """Sell while something happens, and return what came of it once all agree.

        Args:
            happen: What happens; the crowd buys until it returns.
            seed: Of the crowd.
            concurrency: How many shoppers there are at one time.
        """
        self._spans.served.clear()
        self._spans.processed.clear()
        before = await self._sources.read()
        mix = dict.fromkeys(self.products, 1.0)
        # Each has a key, so that what became of it can be asked for once all is over.
        shares = {"idempotency_share": 1.0, "retry_share": 0.05, "cancel_share": 0.05}
        again = timedelta(seconds=TRUE_WITHIN_SECONDS)
        plan = crowd_plan(self.url, seed, mix=mix, concurrency=concurrency, ask_again=again, **shares)
        async with Load(plan) as load:
            await load.more(100)
            await happen(load)
        began = asyncio.get_running_loop().time()
        rows = await self._agreed(load.report, before)
        true_after = asyncio.get_running_loop().time() - began
        assert [row for row in rows if not row.agrees] == []
        dump = await self.auditor.at_rest()
        assert dump.missing_shards == {}
        assert sorted(set(load.report.order_ids) - dump.orders.keys()) == [], "orders that were acknowledged are gone"
        assert load.report.idempotency_violations == 0
        return Told(load.report, asleep(load.report.order_ids), true_after)

    async def _agreed(self, report: CrowdReport, before: Figures) -> list[Row]:
        """Compare until all agree and nothing waits, or time is up."""
        rows: list[Row] = []

        async def agree() -> bool:
            nonlocal rows
            try:
                now = await self._sources.read()
            except STORE_ERRORS:
                return False
            except TargetError:
                return False
            rows = compare(report, now.since(before), self._spans)
            return now.queue_length == 0 and all(row.agrees for row in rows)

        try:
            await wait_until(agree, TRUE_WITHIN_SECONDS, "all witnesses agree")
        except AssertionError:
            raise AssertionError("\n".join(map(str, [report, *(row for row in rows if not row.agrees)]))) from None
        return rows


def on_every_shard(shards: int) -> list[str]:
    """Return two products for each shard."""
    names: dict[int, list[str]] = {}
    for number in range(100 * shards):
        mine = names.setdefault(keys.shard_of(f"p{number}", shards), [])
        if len(mine) < 2:
            mine.append(f"p{number}")
    assert sum(map(len, names.values())) == 2 * shards
    return [name for several in names.values() for name in several]


def asleep(order_ids: Iterable[str]) -> dict[int, float]:
    """Return for each shard the longest time between two orders that it took, in seconds."""
    times: dict[int, list[int]] = {}
    for order_id in order_ids:
        times.setdefault(shard_of_order(order_id), []).append(int(order_id[MADE], 16))
    return {shard: max((b - a for a, b in pairwise(sorted(at))), default=0) / 1000 for shard, at in times.items()}


async def _offered(url: str, product: str) -> bool:
    """Put a product on sale; replicas that are late on a busy machine are no news here."""
    with suppress(AssertionError):
        await put_product(url, product, stock=STOCK)
        return True
    return False


@asynccontextmanager
async def witnessed(
    url: str, products: Sequence[str], *, shards: int = 1, env: Mapping[str, str] | None = None
) -> AsyncIterator[Witnessed]:
    """Start an API process and a worker on a store, with every span sent here, and put products on sale."""
    async with SpanReceiver() as spans:
        every_span = {
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{spans.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
            "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
            "STORE_SHARDS": str(shards),
            **(env or {}),
        }
        async with (
            sale(url, api_env=every_span, env=every_span) as (api, worker),
            connect(url, name="auditor", timeout_seconds=5) as client,
        ):
            for product in products:
                await wait_until(partial(_offered, api.url, product), 30, f"{product} is on sale")
            store = Shards(client, ledger_scripts(), count=shards)
            await store.prepare(create=False)
            sources = MetricSources(store, [f"{api.url}/metrics", f"{worker.url}/metrics"])
            found = Witnessed(api.url, products, sources, spans)
            found.auditor = Auditor(store)
            yield found
