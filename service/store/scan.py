"""The keys of a store, in steps that keep nobody waiting: the service may not be the only one that lives there."""

import re
from collections.abc import AsyncIterator
from typing import Any

from service.store.client import is_store_down
from service.store.cluster import ClusterClient
from service.store.shards import Shards

STEP = 1000
"""Keys that a server looks at in one go: a third of a millisecond."""
_KEY = re.compile(rb"\{fs:(\d\d)\}:(.*)", re.DOTALL)


async def scan_keys(shards: Shards, pattern: str) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the keys of all shards that match, each with its shard; each node is gone through once.

    What is there from the beginning to the end is found at least once; a node that is down is left out.

    Args:
        shards: The store.
        pattern: What a name behind its shard's prefix must match, as in `SCAN`.

    Raises:
        redis.exceptions.RedisError: The only server there is does not answer, or refused.
    """
    client: Any = shards.client
    match = f"{shards.prefix}{{fs:[0-9][0-9]}}:{pattern}"
    for node in client.get_primaries() if isinstance(client, ClusterClient) else [client]:
        cursor = 0
        while True:
            try:
                # As bytes: a short order id is no text.
                reply = await node.execute_command("SCAN", cursor, "MATCH", match, "COUNT", STEP, NEVER_DECODE=True)
            except Exception as error:
                if node is client or not is_store_down(error):
                    raise
                break
            cursor = int(reply[0])
            for key in reply[1]:
                found = _KEY.fullmatch(key[len(shards.prefix) :])
                if found is not None and int(found[1]) in shards:
                    yield int(found[1]), found[2]
            if not cursor:
                break
