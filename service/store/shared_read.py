"""One reading of the store for all who ask at one time.

Whoever asks while a reading is away shares the next one with all who ask meanwhile. So an answer is never older than
its question, and there is one reading away at a time, however many ask. Nothing is kept: this is no cache.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from opentelemetry.trace import Span, get_current_span

from service.store.batching import Batcher
from service.store.client import is_store_down
from service.store.shards import BatchTrace

T = TypeVar("T")


class SharedRead(Generic[T]):
    """Asks with `read`, which is told whose traces the round trip belongs to; all who share a reply get one object.

    Those who wait while the store goes down are told so with those whose reading failed: their waits do not add up.
    """

    def __init__(self, read: Callable[[BatchTrace], Awaitable[T]]) -> None:
        async def send(askers: Sequence[Span]) -> Sequence[T]:
            return [await read(BatchTrace.by(askers))] * len(askers)

        self._askers: Batcher[Span, T] = Batcher(send, limit=sys.maxsize, ends_all=is_store_down)

    async def __call__(self) -> T:
        """Return what the store says now, or later.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        return await self._askers.submit(get_current_span())

    async def aclose(self) -> None:
        """End a reading that is away, so that the client under it may be closed; for when nobody asks any more."""
        await self._askers.aclose()
