"""The store: how it is reached, what must be true of it, and how steps run in it. Redis >= 7 or Valkey >= 8."""

from service.store.batching import Batcher
from service.store.client import STORE_ERRORS, StoreClient, connect, is_store_down
from service.store.reading import Reading
from service.store.scripts import Script, load_scripts
from service.store.shards import Shards, ShardsDifferError, Shared

__all__ = [
    "STORE_ERRORS",
    "Batcher",
    "Reading",
    "Script",
    "Shards",
    "ShardsDifferError",
    "Shared",
    "StoreClient",
    "connect",
    "is_store_down",
    "load_scripts",
]
