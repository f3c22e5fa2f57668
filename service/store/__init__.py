"""The store: how it is reached, what must be true of it, and how steps run in it. Redis >= 7 or Valkey >= 8."""

from service.store.client import (
    CLIENT_ERRORS,
    STORE_ERRORS,
    StoreClient,
    StoreConnectionError,
    StoreResponseError,
    StoreTimeoutError,
    connect,
    data_directory,
    is_store_down,
    outage_reason,
    plain_words,
)
from service.store.scripts import Arg, load_scripts, named
from service.store.shard_batcher import ShardBatcher
from service.store.shards import BatchTrace, Gathered, SchemaMismatchError, Shards, StoreUnusedError
from service.store.shared_read import SharedRead

__all__ = [
    "CLIENT_ERRORS",
    "STORE_ERRORS",
    "Arg",
    "BatchTrace",
    "Gathered",
    "SchemaMismatchError",
    "ShardBatcher",
    "Shards",
    "SharedRead",
    "StoreClient",
    "StoreConnectionError",
    "StoreResponseError",
    "StoreTimeoutError",
    "StoreUnusedError",
    "connect",
    "data_directory",
    "is_store_down",
    "load_scripts",
    "named",
    "outage_reason",
    "plain_words",
]
