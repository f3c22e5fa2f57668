"""The store as the service sees it: a number of shards, and steps that run whole in one of them.

How many shards there are, and which numbers they have, is fixed when a store is first used: it says where a product is.
One shard is right for one server; more spread the products over the nodes of a Redis Cluster.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, Span, SpanContext, Tracer, set_span_in_context
from redis.exceptions import NoScriptError, ResponseError

from service.store import keys
from service.store.client import StoreClient, is_spread, is_store_down
from service.store.pipe import pipe_of
from service.store.replication import ReplicaCount, run_replicated
from service.store.scripts import Arg
from telemetry import store_span

ACKNOWLEDGING = frozenset(
    {"place", "settle", "cancel", "refund", "stock", "requeue", "drop", "lose", "ticket", "refuse"}
)
"""The steps that somebody goes by once they are done: under `DURABILITY=replicated` not before replicas have them.

What was refused is one of them: who has sent a lot does not count it again, so a lot that is lost stays uncounted."""

FREQUENT = frozenset({"place", "claim", "begin", "settle"})
"""The steps of every order: they share a connection, see `service.store.pipe`."""


class SchemaMismatchError(ValueError):
    """The store was first used with another number of shards, or by a version that kept orders in another form."""


class StoreUnusedError(ValueError):
    """No service has ever used this store: whoever looks for its orders there looks in the wrong place."""


class BatchTrace(NamedTuple):
    """The traces that share a round trip: its span is a child of the first and is linked to the others."""

    context: Context | None
    links: tuple[SpanContext, ...] = ()

    @classmethod
    def by(cls, spans: Iterable[Span]) -> "BatchTrace":
        """Join the traces of these spans, of which the first that is recorded is the parent."""
        contexts = [span.get_span_context() for span in spans]
        recorded = [context for context in contexts if context.trace_flags.sampled]
        if not recorded:
            return NONE
        return cls(set_span_in_context(NonRecordingSpan(recorded[0]), Context()), tuple(recorded[1:]))


class Gathered(NamedTuple):
    """What the shards said that answered, by shard, and which did not."""

    replies: dict[int, Any]
    missing: tuple[int, ...] | None
    """None in a store of one shard, which answers or does not."""


CURRENT = BatchTrace(None)
NONE = BatchTrace(Context())


class Shards:
    """Runs the steps of the ledger; owns nothing, so the clients are closed by whoever made them.

    `failing` are the shards that took no write when somebody last looked, `silent` those of them that did not even say
    so while others answered: who reads from all does not wait for these. `service.ledger.write_check` keeps both.

    Args:
        client: The client for all that is answered at once.
        scripts: The Lua text of each step, by name.
        count: The number of shards.
        tracer: Makes the spans of store calls.
        blocking_client: The client that reads the queue, which waits longer for an answer; else `client`.
        prefix: What stands before the hash tag of each key (`STORE_PREFIX`): two services share a store by it.
    """

    def __init__(
        self,
        client: StoreClient,
        scripts: Mapping[str, str],
        *,
        count: int = 1,
        tracer: Tracer | None = None,
        blocking_client: StoreClient | None = None,
        prefix: str = "",
    ) -> None:
        self.client = client
        self.prefix = prefix
        self.settings_key = keys.settings(prefix)
        self.blocking_client = blocking_client or client
        self._pipe = pipe_of(client)
        self.count = count
        self.numbers: tuple[int, ...] = tuple(range(count))  # until the store was looked at
        self.server = "unknown"  # its name and version, once it was looked at
        self.scripts = scripts
        self.failing: frozenset[int] = frozenset()
        self.silent: frozenset[int] = frozenset()
        self.replicas_wait_seconds = 0.0  # with 0 no replica is waited for
        self.replicas: dict[int, ReplicaCount] = {}
        self._digests = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in scripts.items()}  # noqa: S324 - the name of a script in the store
        self.tracer = tracer or NoOpTracer()

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __contains__(self, shard: int) -> bool:
        return shard in self.numbers

    def of(self, name: str) -> int:
        """Return the shard of a product id or a digest."""
        return self.numbers[keys.shard_of(name, self.count)]

    async def run(
        self,
        step: str,
        shard: int,
        *args: Arg,
        batch: int = 1,
        trace: BatchTrace = CURRENT,
        empty_too: bool = False,
    ) -> Any:  # noqa: ANN401 - each caller types its reply
        """Run one step in one shard, in one round trip; in two when the server does not know the script yet.

        Args:
            step: The script's name.
            shard: Where.
            args: The script's arguments; its keys are the shard's prefix and its key `store`.
            batch: How many orders it carries, for the span.
            trace: Whose traces the round trip belongs to, for the span.
            empty_too: Whether it may run in a shard that lost what it held.

        Raises:
            redis.exceptions.RedisError: The store is down, or refused; the step may have run.
        """
        there = keys.identity(shard, self.prefix)
        names = (
            (keys.prefix(shard, self.prefix), there, there) if empty_too else (keys.prefix(shard, self.prefix), there)
        )
        durable = self.replicas_wait_seconds > 0 and step in ACKNOWLEDGING
        call: Callable[..., Awaitable[Any]] = self.client.execute_command
        if durable:
            call = partial(self._replicated, shard)
        elif self._pipe is not None and step in FREQUENT:
            call = self._pipe.call
        with store_span(self.tracer, "EVALSHA", step, batch, context=trace.context, links=trace.links):
            try:
                return await call("EVALSHA", self._digests[step], len(names), *names, *args)
            except NoScriptError:  # it comes with the call, which also makes it known
                return await call("EVAL", self.scripts[step], len(names), *names, *args)

    async def _replicated(self, shard: int, *command: Arg) -> Any:  # noqa: ANN401 - each caller types its reply
        replicas = self.replicas[shard].wanted if shard in self.replicas else 1
        key, seconds = keys.synced(shard, self.prefix), self.replicas_wait_seconds
        return await run_replicated(self.client, key, command, replicas=replicas, wait_seconds=seconds)

    async def gather(self, step: str, *args: Arg, trace: BatchTrace = CURRENT, among: int | None = None) -> Gathered:
        """Run one step in all shards at once, or in one of them, which then must answer.

        Returns:
            The replies of those that answered; a shard that is down or silent is missing.

        Raises:
            redis.exceptions.RedisError: No shard answers, or one refused.
        """
        asked = [shard for shard in self if shard not in self.silent] if among is None else [among]
        return await self.gather_each(step, dict.fromkeys(asked, args), trace=trace)

    async def gather_each(
        self, step: str, asked: Mapping[int, Sequence[Arg]], *, trace: BatchTrace = CURRENT
    ) -> Gathered:
        """Run one step in some shards at once, in each with arguments of its own; what is said of `gather` holds."""
        found = await asyncio.gather(
            *(self.run(step, shard, *args, trace=trace) for shard, args in asked.items()), return_exceptions=True
        )
        replies = {
            shard: reply for shard, reply in zip(asked, found, strict=True) if not isinstance(reply, BaseException)
        }
        for error in found:
            if isinstance(error, BaseException) and not (replies and is_store_down(error)):
                raise error
        missing = tuple(sorted(set(self) - replies.keys()))
        return Gathered(replies, missing if self.count > 1 else None)

    async def read_queue(
        self, shard: int, consumer: str, *, after: str, limit: int, block: timedelta | None = None
    ) -> list[tuple[str, dict[str, str]]]:
        """Deliver entries of a shard's queue to a consumer of the group `workers` (`XREADGROUP`).

        Args:
            shard: Where.
            consumer: To whom; made if there is none of this name.
            after: `>` for entries that were never delivered, or an id to read the consumer's own pending entries after.
            limit: How many at most.
            block: How long to wait for a new entry.

        Returns:
            Entry ids and fields. Nothing from a store that lost the group, which is made again.

        Raises:
            redis.exceptions.RedisError: The store is down; entries may have been delivered, see `after`.
        """
        milliseconds = None if block is None else block // timedelta(milliseconds=1)
        try:
            reply: Any = await self.blocking_client.xreadgroup(
                keys.GROUP, consumer, {keys.queue(shard, self.prefix): after}, count=limit, block=milliseconds
            )
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self.ensure_group(shard)
            return []
        return [(entry_id, fields) for _, entries in reply or () for entry_id, fields in entries]

    async def prepare(self, *, create: bool = True) -> dict[int, BaseException]:
        """Make the store ready: the number of shards agreed, every shard a part of it, the consumer groups there.

        Args:
            create: Whether a store that was never used becomes one of ours.

        Returns:
            The shards that are away, and why: a store that is in use may have some, and the others are made ready.

        Raises:
            SchemaMismatchError: the store holds another number of shards, orders in another form, or another's parts.
            StoreUnusedError: it was never used, and is not to be created.
        """
        name, in_use = await self._agree(create=create)
        joining = (self._join(shard, name, in_use=in_use) for shard in self)
        found = await asyncio.gather(*joining, return_exceptions=True)
        errors = {shard: error for shard, error in zip(self, found, strict=True) if error is not None}
        for error in errors.values():
            if not in_use or len(errors) == self.count or not is_store_down(error):
                raise error
        if not in_use:
            await self.client.hsetnx(self.settings_key, "complete", "1")
        return errors

    async def _agree(self, *, create: bool) -> tuple[str, bool]:
        """Agree on the form, which is written before the number of shards: one without a form is an older version's.

        Returns:
            The store's name, and whether every shard had it once.
        """
        agreed: list[Any] = await self.client.hmget(
            self.settings_key, ["shards", "form", "store", "complete", "numbers"]
        )
        held, form, name, complete, numbers = agreed
        if held is not None and int(held) != self.count:
            raise SchemaMismatchError(f"STORE_SHARDS is {self.count}, but this store was first used with {held}")
        if (held, form) != (None, None) and form != keys.SCHEMA_VERSION:
            raise SchemaMismatchError(
                f"this store holds orders in form {form or 1}, and this version reads {keys.SCHEMA_VERSION}: "
                "an older one is brought forward by `flash-sale migrate`"
            )
        if None not in (held, name):
            self.numbers = tuple(map(int, numbers.split())) if numbers else tuple(range(self.count))
            return name, complete is not None
        if (held, form) == (None, None) and not create and not await self._used():
            raise StoreUnusedError("no service has ever used this store")
        if held is None and self.count > 1 and is_spread(self.client):
            await self.client.hsetnx(self.settings_key, "numbers", " ".join(map(str, keys.spread(self.count))))
        await self.client.hsetnx(self.settings_key, "form", keys.SCHEMA_VERSION)
        await self.client.hsetnx(self.settings_key, "store", secrets.token_hex(8))
        await self.client.hsetnx(self.settings_key, "shards", str(self.count))
        return await self._agree(create=create)

    async def _used(self) -> bool:
        """Whether a service works here, although its settings are gone, as after a FLUSHALL."""
        return bool(await self.client.exists(keys.beat(self.prefix), keys.queue(0, self.prefix)))

    async def _join(self, shard: int, store: str, *, in_use: bool) -> None:
        """Make a shard a part of the store; one that was, and is empty now, is not made so again: see the runbook."""
        if not in_use:
            await self.client.set(keys.identity(shard, self.prefix), store, nx=True)
        found = await self.client.get(keys.identity(shard, self.prefix))
        if found not in (None, store):
            raise SchemaMismatchError(
                f"shard {shard} is a part of another store: the settings that {self.settings_key} held are gone"
            )
        await self.ensure_group(shard)

    async def ensure_group(self, shard: int) -> None:
        """Make the queue's consumer group unless it is there."""
        await self.run("group", shard)
