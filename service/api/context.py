"""What the routes share: one object of a process, reached through `get_context`."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from service.api.admin_log import AdminLog
from service.api.client_address import client_address
from service.api.conditional import PolledJson
from service.ending import Ending
from service.faults import Faults
from service.ledger.catalogue import ProductCatalogue
from service.ledger.dead_letters import DeadLetters
from service.ledger.feed import Feed
from service.ledger.feed_tail import FeedTail
from service.ledger.lease import Lease
from service.ledger.ledger import Ledger
from service.ledger.order_list import OrderList
from service.ledger.order_reader import OrderReader
from service.ledger.orders import ORDER_ID, shard_of_order
from service.ledger.rates import FleetRates
from service.ledger.snapshot import Snapshot
from service.ledger.tickets import SaleTickets
from service.ledger.turns import Siblings
from service.ledger.write_check import WriteCheck
from service.monitoring.broadcast import Broadcast
from service.monitoring.live import CONNECTIONS, EVENT_STREAMS, Live, open_windows
from service.monitoring.past import PastKeeper
from service.monitoring.poller import SnapshotPoller
from service.monitoring.rejections import Rejections
from service.orders.admission import Admission
from service.orders.checkout import Checkout
from service.orders.followers import OrderFollowers
from service.orders.placement import OrderPlacer
from service.orders.rate_limits import RateLimits
from service.orders.sold_out import SoldOutCache
from service.orders.tickets import TicketCounter
from service.orders.wait_time import WaitEstimator
from service.problems import Problem
from service.settings import Settings
from service.store import Shards
from telemetry import Telemetry

_ORDER_ID = re.compile(ORDER_ID)


class ApiContext:
    """The parts of one API process.

    Args:
        settings: The service's settings.
        telemetry: This process's telemetry.
        shards: The store.
        connections: How many client connections are open now.
        faults: The faults that an admin may switch on; None where there are none.
        stop: Set when the process is to end: nobody is kept waiting any longer.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        shards: Shards,
        connections: Callable[[], int] = lambda: 0,
        faults: Faults | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        self.stopping = stop or asyncio.Event()
        self.faults = faults
        self.settings, self.telemetry = settings, telemetry
        self.shards, self.connections = shards, connections
        self.draining, self.feed_streams = False, 0
        self.admin_log, self.ending = AdminLog(), Ending(settings.shutdown_seconds)
        self.ledger = Ledger(shards, settings.policy)
        self.feed = FeedTail(Feed(shards), tuple(shards), self.stopping)
        self.order_list, self.catalogue = OrderList(shards), ProductCatalogue(shards)
        self.dead_letters, self.order_reader = DeadLetters(shards), OrderReader(shards)
        # They hold their connections for minutes: half of all are for others.
        self.followers = OrderFollowers(self.order_reader, settings.max_connections // 2)
        self.ending.on_begin(self.followers.end)
        self.product_list, self.sold_out = PolledJson("public, max-age=1"), SoldOutCache()
        self.wait_estimator = WaitEstimator(settings.max_wait_seconds)
        self.tickets = SaleTickets(shards, settings.policy.ticket_window)
        self.placer = OrderPlacer(self.ledger, self.sold_out, self.wait_estimator, self.tickets)
        self.admission = Admission(self.sold_out, self.wait_estimator, max_in_flight=settings.max_in_flight)
        self.rates = FleetRates(shards)
        limits = _limits(self.rates, settings)
        self.checkout = Checkout(self.admission, limits, self.placer)
        self.ticket_counter = TicketCounter(self.tickets, limits, settings.max_in_flight)
        self.siblings = fleet = siblings_of(telemetry, faults)
        self.writes = WriteCheck(shards, settings.store_timeout_seconds, siblings=fleet)
        lease = Lease(shards, settings.fleet_id)
        self.poller = SnapshotPoller(shards, lease, self.writes, on_reading=self._learn, siblings=fleet)
        self.past, slot = PastKeeper(shards, self.poller), telemetry.worker
        self.windows = open_windows(shards, slot, self._report, silence=settings.worker_silence)
        self.rejections = Rejections(self.ledger, slot)
        self.live = Live(self.poller, self.windows)
        self.broadcast = Broadcast(self.live, self.poller)

    def address_of(self, scope: Scope) -> str | None:
        """Return the address that an order counts for; None where addresses are not limited."""
        return client_address(scope, self.settings.trusted_proxies) if self.settings.rate_limit_per_address else None

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Count one who follows all orders for as long as the block lasts."""
        self.feed_streams += 1
        try:
            yield
        finally:
            self.feed_streams -= 1

    def event_streams(self) -> dict[str, int]:
        """Return how many streams of server-sent events are open, by their route."""
        return {"/events": self.feed_streams, "/orders/{order_id}/events": len(self.followers)}

    async def ask_store(self) -> None:
        """Return if a shard takes writes.

        Raises:
            redis.exceptions.RedisError: None does.
        """
        await self.writes.ask(self.poller.fresh)

    async def aclose(self) -> None:
        """End what is still being read; for when nobody asks any more."""
        await self.feed.aclose()
        await self.writes.aclose()
        await self.rates.aclose()
        await self.tickets.aclose()
        await self.order_reader.aclose()
        await self.catalogue.aclose()
        await self.live.aclose()
        await self.past.aclose()

    def _report(self) -> dict[str, float | str]:
        """Return what this process tells the others of itself; nothing while nobody is connected."""
        open_now = {CONNECTIONS: self.connections(), EVENT_STREAMS: sum(self.event_streams().values())}
        return {name: count for name, count in open_now.items() if count}

    def _learn(self, snapshot: Snapshot, asked: float) -> None:
        self.sold_out.refresh(snapshot, asked)
        self.wait_estimator.refresh(snapshot, asked)

    def known_order_id(self, order_id: str) -> str:
        """Return an order id that could be one of ours.

        Raises:
            Problem: 404 `unknown_order`, without asking the store.
        """
        if not _ORDER_ID.fullmatch(order_id) or shard_of_order(order_id) not in self.shards:
            raise Problem("unknown_order")
        return order_id


def siblings_of(telemetry: Telemetry, faults: Faults | None) -> Siblings:
    """Return the other processes of the fleet; none where a fault may be on in one alone."""
    return Siblings(None if faults else telemetry.settings.socket_dir, telemetry.worker)


def _limits(rates: FleetRates, settings: Settings) -> RateLimits:
    return RateLimits(rates, per_user=settings.rate_limit_per_second, per_address=settings.rate_limit_per_address)


async def get_context(request: Request) -> ApiContext:  # a plain function would be run in a thread, at 60 us a call
    """Return the service that answers this request."""
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(get_context)]
