"""The ledger: the typed face of `scripts/*.lua`, one function a step, each whole in one script.

Every step may be sent twice without harm, because a client that lost a reply will send it again.
A step raises only what the store raises; all that the ledger itself has to say is in its return value.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from service.ledger.orders import Cancellation, NewOrder, Order, Outcome, Placement, Status, shard_of_order
from service.ledger.refunds import OwedRefund
from service.store import Shards, keys, load_scripts, named
from service.store.shards import CURRENT, BatchTrace

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
REFUSALS_REMEMBERED = timedelta(hours=1)


def ledger_scripts() -> dict[str, str]:
    """All steps of the ledger, by name."""
    return load_scripts("service.ledger.scripts")


def milliseconds(duration: timedelta) -> int:
    """Return a duration as the scripts take it."""
    return int(duration / timedelta(milliseconds=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPolicy:
    """What the ledger grants: how long units are held and keys are known, how many attempts an order has.

    Of an order that is forgotten after `retention` the feed tells nothing either. In a sale by ticket, so many more
    tickets as there are units left have their turn after each `ticket_window`.
    """

    reservation: timedelta = timedelta(minutes=15)
    idempotency: timedelta = timedelta(hours=24)
    attempts: int = 5
    retention: timedelta | None = None
    events_retention: timedelta = timedelta(days=7)
    cancellations_per_minute: int | None = None
    ticket_window: timedelta = timedelta(seconds=15)


@dataclass(slots=True)
class Entry:
    """A queue entry in a worker's hands."""

    entry_id: str
    order_id: str
    traceparent: str


class BeginResult(StrEnum):
    """What became of an entry that a worker took: `gone` asks for nothing, `dead` was given up."""

    BEGUN = "begun"
    DEAD = "dead"
    GONE = "gone"


@dataclass(slots=True)
class Begun:
    """An order to be processed; `wait` and `promised_wait` are set at its first attempt."""

    result: BeginResult
    order: Order | None = None
    wait: timedelta | None = None
    promised_wait: timedelta | None = None


@dataclass(slots=True)
class Settlement:
    """How an order ended, as the worker sees it.

    `generation` is the one that was paid for, None for the present one. `maybe_captured`: a failed order may have been
    paid for.
    """

    order_id: str
    status: Literal[Status.CONFIRMED, Status.FAILED]
    reason: str = ""
    payment_id: str = ""
    generation: int | None = None
    maybe_captured: bool = False


class SettleResult(StrEnum):
    """`repeated`: the same settlement stood already; `refused`: another one did, or the order was requeued since."""

    SETTLED = "settled"
    REPEATED = "repeated"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(slots=True)
class Settled:
    """What the ledger says to a settlement: the status that stands, the time from accepted and from begun."""

    result: SettleResult
    status: str
    since_accepted: timedelta
    since_begun: timedelta


@dataclass(frozen=True, slots=True)
class Retry:
    """An order to be tried again after a delay."""

    order_id: str
    delay: timedelta
    reason: str


class DeferResult(StrEnum):
    """`dead`: it had all its attempts."""

    DEFERRED = "deferred"
    DEAD = "dead"
    GONE = "gone"


class Ledger:
    """Selling, in one store. Lists given to a step all belong to one shard."""

    def __init__(self, shards: Shards, policy: LedgerPolicy) -> None:
        self.shards = shards
        self.policy = policy
        allowed = policy.cancellations_per_minute
        self._cancellation_ms = f"{60_000 / allowed:.3f}" if allowed else "0"

    async def place(self, shard: int, orders: Sequence[NewOrder], trace: BatchTrace = CURRENT) -> list[Placement]:
        """Place orders, each on its own, in the order given."""
        args: list[str | int] = [milliseconds(self.policy.reservation), milliseconds(self.policy.idempotency)]
        args += (secrets.token_hex(6), self._cancellation_ms, milliseconds(self.policy.ticket_window))
        for order in orders:
            product, user = keys.escape(order.product_id), keys.escape(order.user_id)
            args += (order.order_id, product, user, order.quantity)
            args += (order.digest, order.fingerprint, order.traceparent)
            args += (order.reference, order.payment_token, order.ticket)
        replies = await self.shards.run("place", shard, *args, batch=len(orders), trace=trace)
        return [_placement(order, reply) for order, reply in zip(orders, replies, strict=True)]

    async def refuse(self, process: str, lot: int, refusals: Mapping[str, int]) -> None:
        """Count refusals, by reason, that a process decided by itself; a lot counts once."""
        args = [part for refusal in refusals.items() for part in refusal]
        await self.shards.run("refuse", 0, process, lot, milliseconds(REFUSALS_REMEMBERED), *args)

    async def claim(self, shard: int, claims: Sequence[tuple[str, str]], trace: BatchTrace = CURRENT) -> list[bool]:
        """Bind idempotency digests to fingerprints; False where another request has the digest."""
        args = [part for claim in claims for part in claim]
        keep = milliseconds(self.policy.idempotency)
        granted = await self.shards.run("claim", shard, keep, *args, batch=len(claims), trace=trace)
        return [bool(grant) for grant in granted]

    async def deliver(self, shard: int, consumer: str, limit: int, block: timedelta) -> list[Entry]:
        """Hand new queue entries to a consumer, which holds them until their orders end; wait up to `block` for one."""
        delivered = await self.shards.read_queue(shard, consumer, after=">", limit=limit, block=block)
        return [read_entry(entry_id, fields) for entry_id, fields in delivered]

    async def delivered(self, shard: int, consumer: str, limit: int) -> list[Entry]:
        """Read the queue entries that a consumer holds already; it may not know of those whose reply was lost."""
        held = await self.shards.read_queue(shard, consumer, after="0", limit=limit)
        return [read_entry(entry_id, fields) for entry_id, fields in held]

    async def begin(self, shard: int, entries: Sequence[Entry]) -> list[Begun]:
        """Take delivered entries in hand: each order is `processing`, with one attempt more."""
        args = [part for entry in entries for part in (entry.entry_id, entry.order_id)]
        call = secrets.token_hex(6)
        replies = await self.shards.run("begin", shard, self.policy.attempts, call, *args, batch=len(entries))
        return [_begun(reply) for reply in replies]

    async def settle(self, shard: int, settlements: Sequence[Settlement], trace: BatchTrace = CURRENT) -> list[Settled]:
        """End orders that were begun; the first settlement of an order stands."""
        args: list[str | int] = []
        for s in settlements:
            args += (s.order_id, "" if s.generation is None else s.generation, s.status, s.reason, s.payment_id)
            args += ("1" if s.maybe_captured else "",)
        flat = await self.shards.run("settle", shard, *args, batch=len(settlements), trace=trace)
        replies = zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
        return [
            Settled(
                SettleResult(result),
                status,
                timedelta(milliseconds=total),
                timedelta(milliseconds=processing),
            )
            for result, status, total, processing in replies
        ]

    async def defer(self, shard: int, retries: Sequence[Retry]) -> list[DeferResult]:
        """Put orders aside for another attempt, or give them up when they had their last."""
        args: list[str | int] = [self.policy.attempts]
        for retry in retries:
            args += (retry.order_id, milliseconds(retry.delay), retry.reason)
        replies = await self.shards.run("defer", shard, *args, batch=len(retries))
        return [DeferResult(reply) for reply in replies]

    async def refunds(
        self, shard: int, lease: timedelta, limit: int, made: Sequence[OwedRefund] = ()
    ) -> list[OwedRefund]:
        """Take the refunds that were made off the list; hand out others that are due, to be made within the lease."""
        args: list[str | int] = [milliseconds(lease), limit]
        for refund in made:
            args += (refund.key, refund.ticket)
        replies = await self.shards.run("refunds", shard, *args, batch=len(made))
        return [OwedRefund(key, ticket, Order.from_row(row), *part) for key, ticket, row, *part in replies]

    async def promote(self, shard: int, limit: int = 1000) -> int:
        """Put deferred orders whose time has come back into the queue; return how many."""
        promoted: int = await self.shards.run("promote", shard, limit)
        return promoted

    async def mend(self, shard: int, limit: int = 1000) -> tuple[int, bool]:
        """Put live orders that stand nowhere back into the queue; return how many, and whether the shard is at rest."""
        total, start, at_rest = 0, 0, 0
        while start >= 0:
            mended, start, at_rest = await self.shards.run("mend", shard, start, limit)
            total += mended
        return total, bool(at_rest)

    async def expire(self, shard: int, limit: int = 1000) -> list[str]:
        """End reservations that nobody began in time; return whose."""
        expired: list[str] = await self.shards.run("expire", shard, limit)
        return expired

    async def forget(self, shard: int, limit: int = 1000) -> int:
        """Forget orders that ended longer ago than the retention, and return how many; without one keep all."""
        if self.policy.retention is None:
            return 0
        forgotten: int = await self.shards.run("forget", shard, milliseconds(self.policy.retention), limit)
        return forgotten

    async def trim(self, shard: int, limit: int = 500) -> bool:
        """Take changes off the feed that are too old, up to `limit` entries; return whether there is more to do."""
        keep = min(self.policy.events_retention, self.policy.retention or timedelta.max)
        done: int = await self.shards.run("trim", shard, milliseconds(keep), limit)
        return not done

    async def reclaim(self, shard: int, consumer: str, silence: timedelta, limit: int) -> list[Entry]:
        """Note that `consumer` is alive and give it entries of consumers that are silent."""
        entries = await self.shards.run("reclaim", shard, consumer, milliseconds(silence), limit)
        return [read_entry(entry_id, named(flat)) for entry_id, flat in entries]

    async def leave(self, shard: int, consumer: str) -> int:
        """Leave the queue; return how many entries stay for others."""
        left: int = await self.shards.run("leave", shard, consumer)
        return left

    async def cancel(
        self, order_id: str, user_id: str | None = None, *, by_shopper: bool = True
    ) -> tuple[Cancellation, Order | None]:
        """Cancel an order that nobody began, only for `user_id` when it is given; a shopper may do it so often."""
        user = keys.escape(user_id) if user_id is not None else ""
        pause = self._cancellation_ms if by_shopper else 0
        reply = await self.shards.run("cancel", shard_of_order(order_id), order_id, user, pause)
        return Cancellation(reply[0]), _order(reply, 1)

    async def order(self, order_id: str) -> Order | None:
        """Read one order."""
        (found,) = await self.shards.run("order", shard_of_order(order_id), order_id)
        return Order.from_row(found[0]) if found else None


def read_entry(entry_id: str, fields: dict[str, str] | None) -> Entry:
    """Read a queue entry as `enqueue` in `_writes.lua` writes it; what is none of ours names no order."""
    fields = fields or {}  # it was deleted, and is only on the consumer's list
    return Entry(entry_id, fields.get("o", ""), fields.get("t", ""))


def _placement(new: NewOrder, reply: list[Any]) -> Placement:
    outcome = _OUTCOMES[reply[0]]
    if outcome is Outcome.ACCEPTED and reply[1] >= 0:
        return Placement(outcome, reply[1], Order.accepted(new, *reply[2:]))
    if outcome in (Outcome.RATE_LIMITED, Outcome.NOT_YOUR_TURN):
        return Placement(outcome, -1, None, retry_after=timedelta(milliseconds=reply[1]))
    return Placement(outcome, reply[1], _order(reply, 2), counted=outcome is not Outcome.STORE_UNAVAILABLE)


def _order(reply: list[Any], index: int) -> Order | None:
    return Order.from_row(reply[index]) if len(reply) > index and reply[index] else None


def _begun(reply: list[Any]) -> Begun:
    result = BeginResult(reply[0])
    if result is not BeginResult.BEGUN:
        return Begun(result, _order(reply, 1))
    wait, promised, token, *row = reply[1:]
    order = Order.from_row(row, token)
    if wait < 0:
        return Begun(result, order)
    return Begun(result, order, timedelta(milliseconds=wait), timedelta(milliseconds=promised))
