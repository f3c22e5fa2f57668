"""What the routes share: one object of a process, built by `app.create_app`, reached through `service_of`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request

from service.errors import Problem
from service.inventory.catalogue import Catalogue
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


@dataclass(slots=True, kw_only=True)
class Service:
    """The parts of one API process."""

    settings: Settings
    telemetry: Telemetry
    shards: Shards
    ledger: Ledger
    catalogue: Catalogue
    placer: Placer
    admission: Admission
    sampler: Sampler
    connections: Callable[[], int]
    draining: bool = False
    windows: Windows = field(init=False)
    rejections: Rejections = field(init=False)
    live: Live = field(init=False)

    def __post_init__(self) -> None:
        """Puts together what is made of the other parts."""
        worker = self.telemetry.settings.worker
        self.windows = Windows(
            self.shards.client,
            f"{keys.prefix(0)}live:",
            worker=worker,
            now=lambda: {CONNECTIONS: self.connections()},
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
