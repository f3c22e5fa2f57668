"""Sending what must count once, over a connection on which anything may be sent twice or be lost."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class NumberedSender(Generic[Batch]):
    """Send batches under rising numbers, each again until it is answered, so that the receiver can count it once."""

    def __init__(self, gather: Callable[[], Batch | None], send: Callable[[int, Batch], Awaitable[object]]) -> None:
        self._gather = gather
        self._send = send
        self._number = 0
        self._batch: Batch | None = None
        self._lock = asyncio.Lock()

    async def flush(self) -> None:
        """Send what there is.

        Raises:
            redis.exceptions.RedisError: Redis is down; nothing is lost, and the same batch goes first the next time.
        """
        async with self._lock:
            if self._batch is not None:  # its fate is unknown
                await self._send(self._number, self._batch)
                self._batch = None
            self._batch = self._gather()
            if self._batch is not None:
                self._number += 1
                await self._send(self._number, self._batch)
                self._batch = None
