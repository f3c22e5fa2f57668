"""Changes of orders told to the merchant's endpoint: each at least once, those of one order in their order.

One process does it at a time, by a lease. How far it came is kept in the store, shard by shard, and moves on behind
what was delivered: a process that dies is followed by one that tells the last few again, under the same ids. What
cannot be delivered stays in the feed; nobody who sells or pays ever waits for the endpoint.
"""

import asyncio
import secrets
from functools import partial
from typing import Protocol

import structlog

from service.background import Work, every
from service.cancellation import cancel_and_wait
from service.ledger.feed import Change, CursorExpiredError, Feed, Place
from service.ledger.lease import Lease
from service.ledger.webhook_places import WebhookPlaces
from service.store import STORE_ERRORS, Shards
from service.webhooks.attempts import Attempts, Pending
from telemetry import suppressed

INTERVAL_SECONDS = 0.5
RENEW_SECONDS = 1.0
WAIT_SECONDS = 0.5
"""How long a round waits for the attempts that it began. Those that take longer go on beside the next rounds."""
WINDOW = 256
"""Changes of a shard that are read and not yet delivered, at most."""
READ_AHEAD = 2048
"""Changes of a shard that are read before the oldest of them is delivered, at most: so many may be told again."""


class Renderer(Protocol):
    """Makes the body of a webhook."""

    def __call__(self, change: Change, store: int) -> bytes:
        """Return what is sent for a change, of the store with that number."""
        ...


class WebhookDelivery:
    """What one worker does for the endpoint while the lease is its own.

    Args:
        shards: Whose changes.
        attempts: Makes attempts at the endpoint.
        render: Makes the body.
        lease: Says whether it is this process' turn.
    """

    def __init__(self, shards: Shards, attempts: Attempts, render: Renderer, lease: Lease | None = None) -> None:
        self._lease = lease or Lease(shards, secrets.token_hex(8), name="webhook")
        feed, places = Feed(shards), WebhookPlaces(shards)
        self._shards = [_ShardDelivery(shard, feed, places, attempts, render, self._lease) for shard in shards]

    def works(self) -> list[Work]:
        """Return what is to be kept going; a shard that is down delays no other."""
        rounds = [shard.keep_delivering for shard in self._shards]
        return [partial(every, RENEW_SECONDS, self._renew, outage=STORE_ERRORS), *rounds]

    async def _renew(self) -> None:
        with suppressed():
            await self._lease.renew()


class _ShardDelivery:
    """The changes of one shard, read ahead: an order whose events are refused or never answered holds no other up."""

    def __init__(
        self, shard: int, feed: Feed, places: WebhookPlaces, attempts: Attempts, render: Renderer, lease: Lease
    ) -> None:
        self._shard = shard
        self._feed = feed
        self._places = places
        self._attempts = attempts
        self._render = render
        self._lease = lease
        self._known = False
        self._read_to: Place | None = None
        self._noted: Place | None = None
        self._window: list[Pending] = []
        self._told: dict[str, asyncio.Task[bool]] = {}
        """Of the orders whose changes are being told now."""

    async def keep_delivering(self) -> None:
        """Deliver until cancelled, and leave no attempt behind."""
        try:
            await every(INTERVAL_SECONDS, self.round, outage=STORE_ERRORS)
        finally:
            await self._forget()

    async def round(self) -> bool:
        """Deliver what is due; return whether to go on at once."""
        if not self._lease.held():
            await self._forget()
            return False
        try:
            with suppressed():
                await self._fill()
                moved = await self._deliver()
                await self._note()
        except STORE_ERRORS:  # one that comes back may have lost what we have read of it
            await self._forget()
            raise
        return moved

    async def _forget(self) -> None:
        self._known, self._window = False, []
        told, self._told = self._told, {}
        await cancel_and_wait(told.values())

    async def _fill(self) -> None:
        if not self._known:
            self._read_to = self._noted = await self._places.read(self._shard)
            self._known = True
        if (room := self._room()) <= 0:
            for pending in self._window:
                if pending.change.order.order_id not in self._told:
                    self._attempts.give_up(pending)
            return
        try:
            page = await self._feed.read_shard(self._shard, self._read_to, room)
        except CursorExpiredError:
            structlog.get_logger("service.webhooks").error(
                "changes of orders went before the webhook was told of them: see flash_sale_webhook_expired_total",
                shard=self._shard,
            )
            page = await self._feed.read_shard(self._shard, None, room)
        self._read_to = page.end
        self._window += [Pending(change, self._render(change, page.store)) for change in page.changes]

    def _room(self) -> int:
        undone = sum(not pending.done for pending in self._window)
        return min(WINDOW - undone, READ_AHEAD - len(self._window))

    async def _deliver(self) -> bool:
        """Make attempts at what is due, and wait for them a little; return whether any was delivered."""
        begun = self._begin()
        if begun:
            await asyncio.wait(begun, timeout=WAIT_SECONDS)
        done = {order_id: task for order_id, task in self._told.items() if task.done()}
        self._told = {order_id: task for order_id, task in self._told.items() if order_id not in done}
        moved = [task.result() for task in done.values()]
        return any(moved)

    def _begin(self) -> list["asyncio.Task[bool]"]:
        """Begin with each order's first change that is due, and its next ones if that goes well."""
        orders: dict[str, list[Pending]] = {}
        for pending in self._window:
            if not pending.done and pending.change.order.order_id not in self._told:
                orders.setdefault(pending.change.order.order_id, []).append(pending)
        due = [(order_id, chain) for order_id, chain in orders.items() if self._attempts.is_due(chain[0])]
        due.sort(key=lambda one: one[1][0].attempts)
        begun = {order_id: asyncio.create_task(self._deliver_order(chain)) for order_id, chain in due}
        self._told |= begun
        return list(begun.values())

    async def _deliver_order(self, chain: list[Pending]) -> bool:
        done = False
        for pending in chain:
            if not await self._attempts.make(pending, self._lease.held):
                break
            done = True
        return done

    async def _note(self) -> None:
        """Move the place in the store behind all that was delivered without a gap."""
        place = self._noted
        while self._window and self._window[0].done:
            place = self._window.pop(0).change.end
        if not self._window:
            place = self._read_to
        if place is not None and place != self._noted:
            await self._places.move(self._shard, place)
            self._noted = place
