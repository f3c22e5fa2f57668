"""A request that is carried out once, however often it is sent: its answer is kept in the store, under its key."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from service.store import Arg, Shards

REPLY_KEPT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class OnceOnly:
    """A request that is carried out once: sent again it gets its first answer.

    Attributes:
        digest: Of the caller's idempotency key.
        fingerprint: Of what is asked for; another under the same digest is a conflict.
        kept: How long the answer is kept.
    """

    digest: str
    fingerprint: str
    kept: timedelta


async def claim(shards: Shards, once: OnceOnly) -> bool:
    """Bind an idempotency key in the shard of the key; False where another request has it."""
    granted = await shards.run(
        "claim", shards.of(once.digest), once.kept // timedelta(milliseconds=1), once.digest, once.fingerprint
    )
    return bool(granted[0])


async def begin_once(shards: Shards, shard: int, once: OnceOnly | None) -> list[Arg] | None:
    """Return what a script is told of the request that it carries out in a shard; None where another has its key.

    That is the request's id, how long its answer is kept in ms, its fingerprint, and the id of this call. Without a key
    of the caller's it is still one request, which the client of the store may send twice.

    Raises:
        redis.exceptions.RedisError: The store is down.
    """
    if once is not None and shards.of(once.digest) != shard and not await claim(shards, once):
        return None
    once = once or OnceOnly(secrets.token_hex(8), "", REPLY_KEPT)
    return [once.digest, once.kept // timedelta(milliseconds=1), once.fingerprint, secrets.token_hex(6)]
