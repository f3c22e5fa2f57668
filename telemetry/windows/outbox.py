"""Sending what must count once, over a connection on which anything may be sent twice or be lost."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Lot = TypeVar("Lot")


class Outbox(Generic[Lot]):
    """Sends lots under rising numbers, each one again until it is answered, so that the receiver can count it once."""

    def __init__(self, gather: Callable[[], Lot | None], send: Callable[[int, Lot], Awaitable[object]]) -> None:
        self._gather = gather
        self._send = send
        self._number = 0
        self._lot: Lot | None = None
        self._lock = asyncio.Lock()

    async def flush(self) -> None:
        """Sends what there is.

        Raises:
            redis.exceptions.RedisError: Redis is down; nothing is lost, and the same lot goes first the next time.
        """
        async with self._lock:
            if self._lot is not None:  # its fate is unknown
                await self._send(self._number, self._lot)
                self._lot = None
            self._lot = self._gather()
            if self._lot is not None:
                self._number += 1
                await self._send(self._number, self._lot)
                self._lot = None
