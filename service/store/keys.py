"""Key names: one prefix a shard, and the few keys that are read without a script.

Every key starts with the shard's hash tag `{fs:NN}`, so that all of a product and its orders lies in one
slot of a Redis Cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
The names behind the prefix stand at the head of `service/ledger/scripts/_ledger.lua`.
"""

import hashlib
from urllib.parse import quote, unquote
from zlib import crc32

GROUP = "workers"
MAX_SHARDS = 100
SCHEMA_VERSION = "4"
"""How orders are written; a store that holds another form is refused."""


def prefix(shard: int) -> str:
    """Return the start of every key of a shard."""
    return f"{{fs:{shard:02d}}}:"


def queue(shard: int) -> str:
    """Return the key of the stream of orders that wait or are being processed."""
    return prefix(shard) + "queue"


def beat() -> str:
    """Return a key that whoever uses the store writes once a second."""
    return prefix(0) + "beat"


def settings() -> str:
    """Return the key of what must stay as it was when the store was first used."""
    return prefix(0) + "settings"


def shard_of(name: str, shards: int) -> int:
    """Return the shard of a product, or of an idempotency digest: the same in every process and version."""
    return crc32(name.encode()) % shards


def escape(name: str) -> str:
    """Escape a user's or product's id as it may stand in a key: nothing outside `[A-Za-z0-9._~@:+=-]` stays."""
    return quote(name, safe="@:+=")


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
