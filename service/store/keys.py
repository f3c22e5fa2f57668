"""Key names: one prefix a shard, and the few keys that are read without a script.

Every key starts with the shard's hash tag `{fs:NN}`, behind `STORE_PREFIX` where there is one (`before`), so that all
of a product and its orders lies in one slot of a Redis Cluster
(https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/). The names behind the prefix stand at the
head of `service/ledger/scripts/_shard.lua`.
"""

import hashlib
import re
from urllib.parse import quote, unquote
from zlib import crc32

from redis.crc import key_slot

_PLAIN = re.compile(r"[A-Za-z0-9._~@:+=-]*")
GROUP = "workers"
MAX_SHARDS = 100
SLOTS = 16384
"""Of a Redis Cluster."""
SCHEMA_VERSION = "4"
"""How orders are written; a store that holds another form is refused."""


def prefix(shard: int, before: str = "") -> str:
    """Return the start of every key of a shard."""
    return f"{before}{{fs:{shard:02d}}}:"


def slot(shard: int) -> int:
    """Return the slot of a cluster that a shard is in."""
    return key_slot(prefix(shard).encode())


def queue(shard: int, before: str = "") -> str:
    """Return the key of the stream of orders that wait or are being processed."""
    return prefix(shard, before) + "queue"


def beat(before: str = "") -> str:
    """Return a key that whoever uses the store writes once a second."""
    return prefix(0, before) + "beat"


def identity(shard: int, before: str = "") -> str:
    """Return the key that every shard in use has: which store it is a part of. No step runs in a shard without one."""
    return prefix(shard, before) + "store"


def synced(shard: int, before: str = "") -> str:
    """Return a key that is written behind each step whose replication is waited for."""
    return prefix(shard, before) + "synced"


def settings(before: str = "") -> str:
    """Return the key of what must stay as it was when the store was first used."""
    return prefix(0, before) + "settings"


def shard_of(name: str, shards: int) -> int:
    """Return which of the shards a product or an idempotency digest has: the same in every process and version."""
    return crc32(name.encode()) % shards


def spread(shards: int) -> tuple[int, ...]:
    """Choose the numbers of shards so that their slots are spread evenly over a cluster; 0 is one of them.

    The slot of `{fs:NN}` follows from NN: of 0 to 5 three nodes with a third of the slots each have 1, 1 and 4, of the
    six chosen here two each. With `MAX_SHARDS` there is nothing to choose.
    """
    free = {number: slot(number) for number in range(MAX_SHARDS)}
    home = slot(0) * shards // SLOTS
    chosen = {home: 0}
    del free[0]
    for place in range(shards):
        if place not in chosen:
            middle = SLOTS * (2 * place + 1) // (2 * shards)
            chosen[place] = min(free, key=lambda number: abs(free[number] - middle))
            del free[chosen[place]]
    return tuple(chosen[place] for place in range(shards))


def escape(name: str) -> str:
    """Escape a user's or product's id as it may stand in a key: nothing outside `[A-Za-z0-9._~@:+=-]` stays."""
    return name if _PLAIN.fullmatch(name) else quote(name, safe="@:+=")


def unescape(name: str) -> str:
    """Return the id that `escape` was given."""
    return unquote(name)


def digest(*parts: str) -> str:
    """32 hexadecimal digits that stand for the parts and do not tell them: 128 bits of BLAKE2b."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part.encode()
        hashed.update(len(raw).to_bytes(4, "big") + raw)
    return hashed.hexdigest()
