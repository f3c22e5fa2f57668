"""A sale on a real store, with a shopper's, a worker's and an auditor's hand; and a store that is told all twice."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from redis.asyncio import Redis

from service.ledger.audit import LedgerDump, dump_ledger, violations
from service.ledger.catalogue import Change, ProductCatalogue
from service.ledger.dead_letters import DeadLetters
from service.ledger.ledger import (
    Begun,
    DeferResult,
    Entry,
    Ledger,
    LedgerPolicy,
    Retry,
    Settled,
    Settlement,
    ledger_scripts,
    read_entry,
)
from service.ledger.order_list import OrderFilter, OrderList, Position
from service.ledger.orders import NewOrder, Order, Outcome, Placement, Status, new_order_id, shard_of_order
from service.ledger.products import Product
from service.ledger.snapshot import Snapshot, take_snapshot
from service.store import Shards, keys

AT_ONCE = timedelta(0)
LONG = timedelta(hours=1)


class ShardsTwice(Shards):
    """Runs each step `times` times, as a client that lost replies does; the reply `kept` is the caller's."""

    times = 2
    kept = 1

    async def run(self, step: str, shard: int, *args: Any, **rest: Any) -> Any:
        """Run the very same call again and again and keep one reply."""
        replies = [await super(ShardsTwice, self).run(step, shard, *args, **rest) for _ in range(self.times)]
        return replies[min(self.kept, self.times - 1)]


class Sale:
    """A catalogue and a ledger over the same shards. Numbers that a test does not care about have defaults."""

    def __init__(self, shards: Shards, **terms: Any) -> None:
        self.shards = shards
        self.ledger = Ledger(shards, LedgerPolicy(**{"reservation": LONG, **terms}))
        self.catalogue = ProductCatalogue(shards)
        self.order_list = OrderList(shards)
        self.dead_letters = DeadLetters(shards)

    @classmethod
    async def open(cls, client: Redis, *, count: int = 1, shards: type[Shards] = Shards, **terms: Any) -> "Sale":
        """Make the store ready and return a sale on it."""
        made = shards(client, ledger_scripts(), count=count)
        await made.prepare()
        return cls(made, **terms)

    def under(self, **terms: Any) -> "Sale":
        """Return the same sale under other terms: `reservation`, `idempotency`, `attempts`."""
        return Sale(self.shards, **terms)

    # The organiser

    async def product(
        self,
        product_id: str = "phone",
        *,
        stock: int = 10,
        limit: int | None = None,
        opens: datetime | None = None,
        closes: datetime | None = None,
        price: int = 99_900,
    ) -> tuple[Change, Product | None]:
        """Create a product that is on sale now, or set all its fields."""
        fields: dict[str, Any] = {"name": product_id.title(), "price": price, "currency": "EUR", "stock": stock}
        return await self.catalogue.put(product_id, **fields, limit=limit, opens=opens, closes=closes)

    async def units(self, product_id: str = "phone") -> tuple[int, int, int]:
        """Read (stock, held, sold)."""
        product = await self.catalogue.product(product_id)
        assert product is not None
        return product.stock, product.held, product.sold

    # The shopper

    def request(
        self,
        product_id: str = "phone",
        user_id: str = "ann",
        quantity: int = 1,
        *,
        key: str = "",
        body: str = "",
        order_id: str = "",
    ) -> NewOrder:
        """Return a new order; `key` is its idempotency key and `body` what the fingerprint is made of."""
        return NewOrder(
            order_id=order_id or new_order_id(self.shards.of(product_id)),
            product_id=product_id,
            user_id=user_id,
            quantity=quantity,
            digest=keys.digest(key) if key else "",
            fingerprint=keys.digest(body or f"{product_id} {user_id} {quantity}") if key else "",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )

    async def place(self, *orders: NewOrder) -> list[Placement]:
        """Place orders that belong to one shard."""
        return await self.ledger.place(self.shards.of(orders[0].product_id), orders)

    async def try_buy(self, *args: Any, **kwargs: Any) -> Outcome:
        """Place one order and return what the ledger says."""
        return (await self.place(self.request(*args, **kwargs)))[0].outcome

    async def buy(self, *args: Any, **kwargs: Any) -> Order:
        """Place one order that must be accepted."""
        (placement,) = await self.place(self.request(*args, **kwargs))
        assert (placement.outcome, placement.order is not None) == (Outcome.ACCEPTED, True), placement
        assert placement.order is not None
        return placement.order

    async def order(self, order: Order) -> Order:
        """Read an order again."""
        read = await self.ledger.order(order.order_id)
        assert read is not None
        return read

    async def status(self, order: Order) -> Status:
        """Read an order's status."""
        return (await self.order(order)).status

    async def orders_of(self, user_id: str, limit: int, before: tuple[datetime, str] | None = None) -> list[Order]:
        """Read a user's orders, the newest first, from below (`accepted_at`, `order_id`) on."""
        after = Position(round(before[0].timestamp() * 1000), before[1]) if before else None
        return (await self.order_list.page(OrderFilter(user_id=user_id), limit, after)).orders

    # The worker

    async def deliver(self, consumer: str = "w1", limit: int = 100, shard: int = 0) -> list[Entry]:
        """Let a consumer read new entries of the queue."""
        read: Any = await self.shards.client.xreadgroup(keys.GROUP, consumer, {keys.queue(shard): ">"}, count=limit)
        return [read_entry(entry_id, fields) for _, entries in read or [] for entry_id, fields in entries]

    async def begin(self, *entries: Entry) -> list[Begun]:
        """Take delivered entries in hand."""
        return await self.ledger.begin(int(entries[0].order_id[:2]), entries) if entries else []

    async def take(self, consumer: str = "w1", limit: int = 100, shard: int = 0) -> list[Begun]:
        """Read new entries and take them in hand."""
        return await self.begin(*await self.deliver(consumer, limit, shard))

    async def settle(
        self,
        order: Order,
        status: Status = Status.CONFIRMED,
        reason: str = "",
        payment_id: str = "",
        *,
        generation: int | None = None,
    ) -> Settled:
        """Tell the ledger how an order ended."""
        assert status in (Status.CONFIRMED, Status.FAILED)
        settlement = Settlement(order.order_id, status, reason, payment_id, generation)
        (settled,) = await self.ledger.settle(int(order.order_id[:2]), [settlement])
        return settled

    async def defer(self, order: Order, delay: timedelta = AT_ONCE, reason: str = "timeout") -> DeferResult:
        """Put an order aside for another attempt."""
        retry = Retry(order.order_id, delay, reason)
        (result,) = await self.ledger.defer(int(order.order_id[:2]), [retry])
        return result

    async def dead_letter(self, *args: Any, **kwargs: Any) -> Order:
        """Buy something that cannot be processed at all, and see it given up."""
        return await self.die(await self.buy(*args, **kwargs))

    async def die(self, order: Order) -> Order:
        """See an order given up that waits."""
        await self.take(shard=shard_of_order(order.order_id))
        assert await self.under(attempts=1).defer(order, reason="gateway_down") is DeferResult.DEAD
        return await self.order(order)

    # The auditor

    async def snapshot(self) -> Snapshot:
        """Read what the telemetry shows."""
        return await take_snapshot(self.shards)

    async def dump(self) -> LedgerDump:
        """Read the whole ledger, which must be in order."""
        dump = await dump_ledger(self.shards)
        assert violations(dump) == []
        return dump


def outcomes(placements: Sequence[Placement]) -> list[str]:
    """Return the words of a list of placements."""
    return [str(placement.outcome) for placement in placements]
