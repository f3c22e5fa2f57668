"""How much room a store has: what counts against `maxmemory`, beyond which it takes no order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from redis.asyncio.cluster import RedisCluster

from service.store.client import StoreClient

NEARLY_FULL = 0.9
"""From which share of the limit on there is hardly any room left."""


@dataclass(frozen=True, slots=True)
class StoreMemory:
    """Bytes used of a limit (`maxmemory`), 0 where there is none; of a cluster, those of the fullest primary."""

    used_bytes: int
    limit_bytes: int

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Self:
        """Return what one server says in INFO: the buffers of its replicas and of its AOF do not count there."""
        used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
        return cls(used, int(info.get("maxmemory", 0)))

    @property
    def share(self) -> float:
        """How full it is; 0 without a limit."""
        return self.used_bytes / self.limit_bytes if self.limit_bytes else 0.0

    @property
    def nearly_full(self) -> bool:
        """Whether there is hardly any room left."""
        return self.share >= NEARLY_FULL


async def memory_info(client: StoreClient) -> list[Mapping[str, Any]]:
    """Return `INFO memory` of each server that takes writes.

    Raises:
        redis.exceptions.RedisError: one does not answer.
    """
    cluster: Any = client  # for mypy both kinds of client are one
    which = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(cluster, RedisCluster) else {}
    found: Mapping[str, Any] = await client.info("memory", **which)
    return [found] if "used_memory" in found else list(found.values())


def fullest(infos: list[Mapping[str, Any]]) -> StoreMemory:
    """Return the room of the server that will be full first."""
    return max(map(StoreMemory.of, infos), key=lambda memory: (memory.share, memory.used_bytes))
