"""A write that is not answered before replicas have it: `DURABILITY=replicated`.

The step, a write that always happens and `WAIT` go over one connection, in one round trip: `WAIT` speaks of the writes
of its own connection, and a step that finds its work done (an order that was sent twice) writes nothing. So what is
acknowledged is held by the primary that did it, and by as many of its replicas as are asked for.
"""

from collections.abc import Sequence
from typing import Any, Final

from redis import exceptions

from service.store.client import StoreClient
from service.store.cluster import ClusterClient
from service.store.scripts import Arg

WAIT_SHARE: Final = 0.6
"""Of the time that a call may take, how much is left to the replicas."""
REMEMBERED_SECONDS: Final = 20.0
"""For so long a replica that has left is still asked for: a sentinel may have made it the primary, and the one that we
talk to is told so after 8 to 18 s. What that one takes meanwhile is lost."""

Command = Sequence[Arg]


class NotReplicated(exceptions.RedisError):
    """Too few replicas have a write: whoever asked for it is not told that it is done, and may ask again."""

    def __init__(self, acknowledged: int, wanted: int) -> None:
        super().__init__(f"NOREPLICAS {acknowledged} of {wanted} replicas have the write")


class ReplicaCount:
    """How many replicas must have a write: all that there were in the last `REMEMBERED_SECONDS`, and one at least."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def note(self, now: float, replicas: int) -> None:
        """Learn how many follow now, by a clock that only grows."""
        self._seen = [(at, n) for at, n in self._seen if now - at < REMEMBERED_SECONDS and n > replicas]
        self._seen.append((now, replicas))

    @property
    def wanted(self) -> int:
        """How many must have a write."""
        return max((replicas for _, replicas in self._seen), default=1) or 1


async def online_replicas(client: StoreClient, key: str) -> int:
    """Count the replicas in step of the primary that has a key.

    Raises:
        redis.exceptions.RedisError: The store is down.
    """
    cluster: object = client
    target = {"target_nodes": cluster.get_node_from_key(key)} if isinstance(cluster, ClusterClient) else {}
    found: dict[str, Any] = await client.info("replication", **target)
    return sum(isinstance(one, dict) and one.get("state") == "online" for one in found.values())


async def run_replicated(client: StoreClient, key: str, step: Command, *, replicas: int, wait_seconds: float) -> Any:  # noqa: ANN401 - each caller types its reply
    """Run a command, and return its reply once `replicas` of the primary have what it wrote.

    Raises:
        NotReplicated: They do not have it in time; it was done.
        redis.exceptions.RedisError: The store is down, or refused.
    """
    commands: list[Command] = [step, ("SET", key, "1"), ("WAIT", replicas, round(wait_seconds * 1000))]
    cluster: object = client
    if isinstance(cluster, ClusterClient):
        reply, written, acknowledged = await cluster.execute_together(key, commands)
    else:
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        reply, written, acknowledged = await pipeline.execute(raise_on_error=False)
    for found in (reply, written, acknowledged):
        if isinstance(found, Exception):
            raise found
    if acknowledged < replicas:
        raise NotReplicated(acknowledged, replicas)
    return reply
