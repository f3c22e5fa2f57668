"""The store as the service sees it: a number of shards, and steps that run whole in one of them.

The number of shards is fixed when a store is first used: a product's shard follows from it. One shard is
right for one server; more spread the products over the nodes of a Redis Cluster.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, Span, SpanContext, Tracer, set_span_in_context
from redis.exceptions import NoScriptError, ResponseError

from service.store import keys
from service.store.client import StoreClient
from service.store.scripts import Arg
from telemetry import store_span


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


CURRENT = BatchTrace(None)
NONE = BatchTrace(Context())


class Shards:
    """Runs the steps of the ledger; owns nothing, so the clients are closed by whoever made them.

    Args:
        client: The client for all that is answered at once.
        scripts: The Lua text of each step, by name.
        count: The number of shards.
        tracer: Makes the spans of store calls.
        blocking_client: The client that reads the queue, which waits longer for an answer; else `client`.
    """

    def __init__(
        self,
        client: StoreClient,
        scripts: Mapping[str, str],
        *,
        count: int = 1,
        tracer: Tracer | None = None,
        blocking_client: StoreClient | None = None,
    ) -> None:
        self.client = client
        self.blocking_client = blocking_client or client
        self.count = count
        self.server = "unknown"  # its name and version, once it was looked at
        self.scripts = scripts
        self._steps = {name: client.register_script(text) for name, text in scripts.items()}
        self.tracer = tracer or NoOpTracer()

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))

    def of(self, name: str) -> int:
        """Return the shard of a product id or a digest."""
        return keys.shard_of(name, self.count)

    async def run(self, step: str, shard: int, *args: Arg, batch: int = 1, trace: BatchTrace = CURRENT) -> Any:  # noqa: ANN401 - each caller types its reply
        """Run one step in one shard, in one round trip; in three when the server does not know the script yet.

        Args:
            step: The script's name.
            shard: Where.
            args: The script's arguments; its one key is the shard's prefix.
            batch: How many orders it carries, for the span.
            trace: Whose traces the round trip belongs to, for the span.

        Raises:
            redis.exceptions.RedisError: The store is down, or refused; the step may have run.
        """
        with store_span(self.tracer, "EVALSHA", step, batch, context=trace.context, links=trace.links):
            try:
                return await self._steps[step](keys=(keys.prefix(shard),), args=args)
            except NoScriptError:  # forgotten again between its loading and its run: so it comes with the call
                return await self.client.eval(self.scripts[step], 1, keys.prefix(shard), *args)

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
                keys.GROUP, consumer, {keys.queue(shard): after}, count=limit, block=milliseconds
            )
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self.ensure_group(shard)
            return []
        return [(entry_id, fields) for _, entries in reply or () for entry_id, fields in entries]

    async def prepare(self, *, create: bool = True) -> None:
        """Make the store ready: the number of shards agreed, the scripts loaded, the consumer groups there.

        Args:
            create: Whether a store that was never used becomes one of ours.

        Raises:
            SchemaMismatchError: the store holds another number of shards, or orders in another form.
            StoreUnusedError: it was never used, and is not to be created.
        """
        await self._agree(create=create)
        for text in self.scripts.values():
            await self.client.script_load(text)
        probe = await self.client.script_load("return 1")
        for shard in self:  # a user that may not run scripts, or not on these keys, is found out now
            await self.client.evalsha(probe, 1, keys.prefix(shard))
        for shard in self:
            await self.ensure_group(shard)

    async def _agree(self, *, create: bool) -> None:
        """Check the form, which is written before the number of shards: one without a form is an older version's."""
        agreed: list[Any] = await self.client.hmget(keys.settings(), ["shards", "form"])
        held, form = agreed
        if held is not None and int(held) != self.count:
            raise SchemaMismatchError(f"STORE_SHARDS is {self.count}, but this store was first used with {held}")
        if (held, form) != (None, None) and form != keys.SCHEMA_VERSION:
            raise SchemaMismatchError(
                f"this store holds orders in form {form or 1}, and this version reads {keys.SCHEMA_VERSION}"
            )
        if (held, form) == (None, None) and not create and not await self._used():
            raise StoreUnusedError("no service has ever used this store")
        await self.client.hsetnx(keys.settings(), "form", keys.SCHEMA_VERSION)
        if held is None:
            await self.client.hsetnx(keys.settings(), "shards", str(self.count))
            await self._agree(create=create)

    async def _used(self) -> bool:
        """Whether a service works here, although its settings are gone, as after a FLUSHALL."""
        return bool(await self.client.exists(keys.beat(), keys.queue(0)))

    async def ensure_group(self, shard: int) -> None:
        """Make the queue's consumer group unless it is there."""
        try:
            await self.client.xgroup_create(keys.queue(shard), keys.GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
