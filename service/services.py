"""What the routes share: one object of a process, reached through `service_of`."""

import re
from collections.abc import Callable

from fastapi import Request

from service.errors import Problem
from service.inventory.catalogue import Catalogue
from service.monitoring.lease import Lease
from service.monitoring.live import CONNECTIONS, Live
from service.monitoring.rejections import Rejections
from service.monitoring.sampler import Sampler
from service.orders.admission import Admission
from service.orders.ledger import Ledger
from service.orders.models import ORDER_ID, shard_of_order
from service.orders.placing import Placer
from service.settings import Settings
from service.store import Shards, keys
from telemetry import Telemetry
from telemetry.live import Windows

_ORDER_ID = re.compile(ORDER_ID)


class Service:
    """The parts of one API process.

    Args:
        settings: The service's settings.
        telemetry: This process's telemetry.
        shards: The store.
        connections: How many client connections are open now.
    """

    def __init__(
        self, settings: Settings, telemetry: Telemetry, shards: Shards, connections: Callable[[], int] = lambda: 0
    ) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self.shards = shards
        self.connections = connections
        self.draining = False
        self.ledger = Ledger(shards, settings.terms)
        self.catalogue = Catalogue(shards)
        self.placer = Placer(self.ledger)
        self.admission = Admission(max_in_flight=settings.max_in_flight, rate_per_second=settings.rate_limit_per_second)
        self.sampler = Sampler(shards, Lease(shards, settings.fleet_id))
        worker = telemetry.settings.worker
        self.windows = Windows(
            shards.client, f"{keys.prefix(0)}live:", worker=worker, now=lambda: {CONNECTIONS: self.connections()}
        )
        self.rejections = Rejections(self.ledger, worker)
        self.live = Live(self.sampler, self.windows)

    def known_order_id(self, order_id: str) -> str:
        """An order id that could be one of ours.

        Raises:
            Problem: 404 `unknown_order`, without asking the store.
        """
        if not _ORDER_ID.fullmatch(order_id) or shard_of_order(order_id) >= self.shards.count:
            raise Problem("unknown_order")
        return order_id


def service_of(request: Request) -> Service:
    """The service that answers this request."""
    service: Service = request.app.state.service
    return service
