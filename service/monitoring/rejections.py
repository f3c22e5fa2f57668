"""Refusals that a process decides by itself: counted in memory, and added to the ledger's own about once a second.

What the ledger refuses it counts itself. A process that is killed loses what it refused since the last time, no more.
"""

import secrets
from collections import Counter

from service.ledger.ledger import Ledger
from telemetry.windows import NumberedSender


class Rejections:
    """The refusals of one process on their way to the ledger."""

    def __init__(self, ledger: Ledger, worker: str) -> None:
        self._ledger = ledger
        self._process = f"{worker}-{secrets.token_hex(6)}"
        self._waiting: Counter[str] = Counter()
        self._sender = NumberedSender(self._gather, self._send)

    def count(self, reason: str) -> None:
        """Note one refusal."""
        self._waiting[reason] += 1

    async def flush(self) -> None:
        """Send what there is; each refusal counts once.

        Raises:
            redis.exceptions.RedisError: The store is down; the refusals are kept.
        """
        await self._sender.flush()

    def _gather(self) -> Counter[str] | None:
        batch, self._waiting = self._waiting, Counter()
        return batch or None

    async def _send(self, number: int, batch: Counter[str]) -> None:
        await self._ledger.refuse(self._process, number, batch)
