"""Brings a store that holds orders in an older form forward; nothing else may write to it meanwhile.

From 3 to 4: form 4 has a list of all orders (`accepted`), and totals of what they earned. They are made beside their
places and put there whole, a shard at a time, and the store says meanwhile that it is in neither form, so that no
version starts on it. Whoever is stopped on the way does it again: shards that are done are left alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from service.store import SchemaMismatchError, Shards, StoreUnusedError, keys
from service.store.scan import scan_keys

FROM, BETWEEN = "3", "3-4"
STEP = 500
"""Orders in one script: some milliseconds in which the store serves nobody else."""
QUIET_SECONDS = 5


class Migration(NamedTuple):
    """What was done."""

    before: str
    after: str
    orders: int
    """How many were listed now."""
    shards: int
    """In how many shards; those that are done already do not count."""
    forgotten: int = 0
    """How many orders of all shards were bought and forgotten before: what they earned is not in the revenue."""


class StoreInUseError(Exception):
    """A service works on the store."""


async def migrate(shards: Shards) -> Migration:
    """Bring a store forward to the form of this version; raises what its two halves do."""
    return await bring_forward(shards, await schema_version_of(shards))


async def schema_version_of(shards: Shards) -> str:
    """Return the form of a store that can be brought forward, or is in the form of this version already.

    Raises:
        SchemaMismatchError: It is in a form that is newer, or too old, or has another number of shards.
        StoreUnusedError: No service has ever used it.
        StoreInUseError: A service uses it now.
        redis.exceptions.RedisError: The store is down.
    """
    said: list[Any] = await shards.client.hmget(shards.settings_key, ["shards", "form"])
    held, form = said
    if held is None and form is None:
        raise StoreUnusedError("no service has ever used this store")
    if form == keys.SCHEMA_VERSION:
        return keys.SCHEMA_VERSION
    if form not in (FROM, BETWEEN):
        older = form is None or (form.isdecimal() and int(form) < int(FROM))
        why = f"this version migrates from form {FROM}" if older else f"this version reads {keys.SCHEMA_VERSION}"
        raise SchemaMismatchError(f"this store holds orders in form {form or 1}, and {why}")
    if held is not None and int(held) != shards.count:
        raise SchemaMismatchError(f"STORE_SHARDS is {shards.count}, but this store was first used with {held}")
    await _refuse_if_in_use(shards)
    return str(form)


async def bring_forward(shards: Shards, form: str) -> Migration:
    """Bring a store of a form that `schema_version_of` has said forward.

    Raises:
        redis.exceptions.RedisError: The store is down; do it again.
    """
    if form == keys.SCHEMA_VERSION:
        return Migration(form, form, 0, 0)
    await shards.client.hset(shards.settings_key, "form", BETWEEN)
    listed = await _list_orders(shards)
    forgotten = [await shards.run("migrate", shard, "forgotten", empty_too=True) for shard in shards]
    await shards.client.hset(shards.settings_key, "form", keys.SCHEMA_VERSION)
    await shards.prepare(create=False)
    return Migration(FROM, keys.SCHEMA_VERSION, sum(listed), len(listed), sum(forgotten))


async def _refuse_if_in_use(shards: Shards) -> None:
    last: Any = await shards.client.hget(keys.beat(shards.prefix), "last")
    seconds, _ = await shards.client.time()
    if last is not None and abs(seconds - int(last) / 1000) < QUIET_SECONDS:
        raise StoreInUseError(f"a service uses this store: end it, wait {QUIET_SECONDS} seconds, and migrate then")


async def _list_orders(shards: Shards) -> list[int]:
    """Make the list of each shard that has none; return how many orders each now has."""
    to_do = [shard for shard in shards if await shards.run("migrate", shard, "begin", empty_too=True)]
    ids: dict[int, list[str]] = {shard: [] for shard in to_do}
    async for shard, name in scan_keys(shards, "o:*"):
        if shard in ids:
            ids[shard].append(f"{shard:02d}{name[2:].hex()}")
    return [await _list_shard(shards, shard, ids[shard]) for shard in to_do]


async def _list_shard(shards: Shards, shard: int, ids: Sequence[str]) -> int:
    found: dict[str, int] = {}
    for some in _batches(ids):
        times = await shards.run("migrate", shard, "times", *some, empty_too=True)
        found |= {order_id: time for order_id, time in zip(some, times, strict=True) if time >= 0}
    in_turn = sorted(found, key=lambda order_id: (found[order_id], order_id))
    for some in _batches(in_turn):
        await shards.run("migrate", shard, "add", *some, empty_too=True)
    await shards.run("migrate", shard, "end", empty_too=True)
    return len(in_turn)


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[first : first + STEP] for first in range(0, len(ids), STEP))
