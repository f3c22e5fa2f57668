"""Placing an order: its id, its idempotency, and a round trip shared with the other orders of the moment."""

from collections.abc import Sequence
from time import monotonic

from service.ledger.ledger import Ledger
from service.ledger.orders import NewOrder, Outcome, Placement, RandomBits, new_order_id
from service.ledger.tickets import SaleTickets
from service.orders.sold_out import SoldOutCache
from service.orders.wait_time import WaitEstimator
from service.store import STORE_ERRORS, BatchTrace, ShardBatcher, is_store_down, keys
from telemetry import current_traceparent

MAX_BATCH = 128
STOCK_TELLING = (Outcome.ACCEPTED, Outcome.SOLD_OUT)


class OrderPlacer:
    """Places orders for one process; one batch a shard is away at a time."""

    def __init__(self, ledger: Ledger, sold_out: SoldOutCache, wait: WaitEstimator, tickets: SaleTickets) -> None:
        self._ledger = ledger
        self._tickets = tickets
        self._sold_out = sold_out
        self._wait = wait
        self._random = RandomBits()
        self._batches = ShardBatcher(ledger.shards, self._send, limit=MAX_BATCH, ends_all=is_store_down)
        self._claims = ShardBatcher(ledger.shards, ledger.claim, limit=MAX_BATCH, ends_all=is_store_down)

    async def place(
        self,
        *,
        product_id: str,
        user_id: str,
        quantity: int,
        idempotency_key: str | None,
        key_scope: str = "",
        reference: str = "",
        payment_token: str = "",
        ticket: str = "",
    ) -> Placement:
        """Place one order and return the ledger's answer.

        Args:
            product_id: What.
            user_id: For whom.
            quantity: How many units.
            idempotency_key: The client's key; the same key and request again give the first order again.
            key_scope: Whose keys these are: keys of different scopes never meet.
            reference: The merchant's word for the order.
            payment_token: What the shopper pays with; only the gateway is told.
            ticket: The user's for a sale by ticket; no part of the request that an idempotency key stands for.

        Raises:
            redis.exceptions.RedisError: The store is down; the order may have been placed.
        """
        shards = self._ledger.shards
        shard = shards.of(product_id)
        digest = fingerprint = ""
        if idempotency_key is not None:
            digest = keys.digest(key_scope, idempotency_key)
            said = (product_id, user_id, str(quantity))
            fingerprint = keys.digest(*said, *((reference, payment_token) if reference or payment_token else ()))
            home = shards.of(digest)
            if home != shard and not await self._claim(home, (digest, fingerprint)):
                return Placement(Outcome.IDEMPOTENCY_CONFLICT, 0, None, counted=False)
        order = NewOrder(
            order_id=new_order_id(shard, self._random.next()),
            product_id=product_id,
            user_id=user_id,
            quantity=quantity,
            digest=digest,
            fingerprint=fingerprint,
            traceparent=current_traceparent(),
            reference=reference,
            payment_token=payment_token,
            ticket=await self._tickets.checked(ticket, product_id, user_id) if ticket else "",
        )
        return await self._batches.submit(shard, order)

    async def _claim(self, home: int, claim: tuple[str, str]) -> bool:
        """Bind a key in its own shard; one that is down stops no sale, and the same request is still one order."""
        if home in self._ledger.shards.failing:
            return True
        try:
            return await self._claims.submit(home, claim)
        except STORE_ERRORS as error:
            if not is_store_down(error):
                raise
            return True

    async def _send(self, shard: int, orders: Sequence[NewOrder], trace: BatchTrace) -> Sequence[Placement]:
        asked = monotonic()
        placements = await self._ledger.place(shard, orders, trace)
        for order, placement in zip(orders, placements, strict=True):
            if placement.units_left >= 0 and placement.outcome in STOCK_TELLING:
                self._sold_out.record(order.product_id, placement.units_left, asked)
        accepted = [one.order for one in placements if one.outcome is Outcome.ACCEPTED and one.order]
        if accepted:
            alone = len(tuple(self._ledger.shards)) == 1  # of several shards each has a line, and the workers serve all
            self._wait.record_enqueued(len(accepted), accepted[-1].estimated_wait_seconds if alone else 0.0)
        return placements
