"""What a sale asks for: orders, products, how it is spread over them, and what a node is."""

from dataclasses import dataclass
from zlib import crc32

MAX_HASHED = 10_000
"""Of so many products the share of each shard is computed; of more it is as even."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A sale to plan for.

    Attributes:
        orders_per_second: accepted orders, at the height of the sale.
        products: how many are on sale.
        hottest_share: the share of the orders that is for the most wanted product; the others share the rest alike.
        payment_seconds: how long the payment of an order takes.
        concurrency: payments that one order worker has under way (`ORDER_CONCURRENCY`).
        sale_minutes: how long it goes on like that; all orders are kept.
        replicas: replicas of each store server.
        busy: the share of a core that a process may use.
        node_cores, node_gib: what a node has.
        node_price: what it costs, per hour, in any money.
    """

    orders_per_second: float
    products: int = 100
    hottest_share: float = 0.0
    payment_seconds: float = 0.2
    concurrency: int = 512
    sale_minutes: float = 10.0
    replicas: int = 1
    busy: float = 0.6
    node_cores: int = 8
    node_gib: float = 32.0
    node_price: float = 1.0

    @property
    def hottest(self) -> float:
        """The share of the most wanted product: as it was given, at least that of an even spread."""
        return max(self.hottest_share, 1 / self.products)

    def busiest_shard(self, shards: int) -> float:
        """Return the share of the orders that the busiest of so many shards has.

        Which product is on which shard follows from a checksum of its id; it is computed for `product-0`, `product-1`,
        ..., which stand for ids of any kind. The most wanted one is on the busiest shard of the others.
        """
        counted = min(self.products, MAX_HASHED)
        if counted == 1 or shards == 1:
            return 1.0
        load = [0] * shards
        for number in range(1, counted):
            load[crc32(b"product-%d" % number) % shards] += 1
        return self.hottest + (1 - self.hottest) * max(load) / (counted - 1)
