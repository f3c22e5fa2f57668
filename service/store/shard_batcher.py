"""One batcher a shard, whose round trips belong to the traces of all who share them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from opentelemetry.trace import Span, get_current_span

from service.store.batching import Batcher
from service.store.shards import BatchTrace, Shards

Item = TypeVar("Item")
Reply = TypeVar("Reply")

Send = Callable[[int, Sequence[Item], BatchTrace], Awaitable[Sequence[Reply]]]


class ShardBatcher(Generic[Item, Reply]):
    """Sends items in batches, one batch a shard away at a time; see `Batcher`.

    Args:
        shards: The store.
        send: Sends a batch to a shard for the traces of those who submitted, and returns a reply for each item.
        limit: Items in a batch, at most.
        ends_all: Whether an error of one batch is also the answer to those who wait for the next.
    """

    def __init__(
        self,
        shards: Shards,
        send: Send[Item, Reply],
        *,
        limit: int = 128,
        ends_all: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        self._send = send
        self._batchers = {shard: Batcher(self._sender(shard), limit=limit, ends_all=ends_all) for shard in shards}

    async def submit(self, shard: int, item: Item) -> Reply:
        """Send one item for the current span, and return its own reply or raise what became of its batch."""
        return await self._batchers[shard].submit((item, get_current_span()))

    async def aclose(self) -> None:
        """Cancel what is away and who waits."""
        for batcher in self._batchers.values():
            await batcher.aclose()

    def _sender(self, shard: int) -> Callable[[Sequence[tuple[Item, Span]]], Awaitable[Sequence[Reply]]]:
        async def send(batch: Sequence[tuple[Item, Span]]) -> Sequence[Reply]:
            trace = BatchTrace.by(span for _, span in batch)
            return await self._send(shard, [item for item, _ in batch], trace)

        return send
