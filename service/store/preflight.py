"""What must be true of a store before it is used; looked at once, at the start of every role.

`check` refuses a server older than 7.0, one that may evict orders (`maxmemory-policy` other than
`noeviction`) and one that cannot be written to. What is only unwise comes back as a warning.
"""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    RedisClusterException,
    ResponseError,
)

from service.store.client import StoreClient, is_store_down
from service.store.cluster import ClusterClient
from service.store.connection import IN_A_SCRIPT, StoreUnsafe, outage_code
from service.store.memory import StoreMemory, fullest, memory_info

OLDEST_VERSION: Final = (7, 0)
KEEPS_EVERY_KEY: Final = "noeviction"

Durability: TypeAlias = Literal["fast", "local", "replicated"]


ALL_OR_NONE: Final = "one shard that is down stops all others (cluster-require-full-coverage yes): set it to no"

ASYNCHRONOUS: Final = (
    "the store answers before its replicas have a write (min-replicas-to-write 0): a failover may lose orders; "
    "DURABILITY=replicated waits for them"
)

_WRONG_CREDENTIALS: Final = "the store refuses the username or the password of REDIS_URL"
_INTERRUPTED: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


class StoreRefused(ValueError):  # noqa: N818 - a refusal, not a failure
    """The store must not be used as it is; one line says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """What kind of store this is, for the log and for the operator."""

    server: str
    """`valkey` or `redis`."""
    version: str
    """The version of that server, not the one that Valkey claims to be compatible with."""
    aof_enabled: bool
    fsync: str | None
    """The value of `appendfsync`; None when the server does not tell (CONFIG may be forbidden)."""
    maxmemory_policy: str | None
    warnings: tuple[str, ...] = ()


async def check(client: StoreClient, durability: Durability = "fast") -> StoreFacts:
    """Look at the store.

    Args:
        client: Of the store.
        durability: What is promised of it: `local`, that each write is on its disk before it is answered; `replicated`,
            that replicas have it.

    Raises:
        StoreRefused: it is too old, may evict keys, is read-only, does not let us in, or does not keep the promise.
        Exception: one of `STORE_ERRORS`, when it does not answer.
    """
    info = await _info(client)
    server, version = _identity(info)
    _refuse_if_old(server, version, str(info.get("redis_version", version)))
    _refuse_if_read_only(info)
    policy = info.get("maxmemory_policy") or await _config(client, "maxmemory-policy")
    if policy not in (None, KEEPS_EVERY_KEY):
        raise StoreRefused(f"the store may evict orders: maxmemory-policy is {policy}; set it to {KEEPS_EVERY_KEY}")
    aof_enabled = bool(int(info.get("aof_enabled", 0)))
    fsync = await _config(client, "appendfsync") if aof_enabled else None
    clustered = bool(int(info.get("cluster_enabled", 0)))
    all_or_none = clustered and await _config(client, "cluster-require-full-coverage") == "yes"
    if durability == "local" and fsync != "always":
        raise StoreRefused(
            f"DURABILITY=local: the store does not sync each write (appendonly {'yes' if aof_enabled else 'no'}, "
            f"appendfsync {fsync or 'not told'}); set appendonly yes and appendfsync always, or DURABILITY=fast"
        )
    replicas = await _replicas(client)
    if durability == "replicated" and not replicas:
        raise StoreRefused("DURABILITY=replicated: the store has no replica; give it one, or set DURABILITY=fast")
    promised = durability == "replicated" or await _config(client, "min-replicas-to-write") not in ("0", None)
    unwise = ((all_or_none, ALL_OR_NONE), (replicas and not promised, ASYNCHRONOUS))
    return StoreFacts(
        server=server,
        version=version,
        aof_enabled=aof_enabled,
        fsync=fsync,
        maxmemory_policy=policy,
        warnings=(*_warnings(policy, fsync, aof_enabled=aof_enabled), *(text for found, text in unwise if found)),
    )


async def _replicas(client: StoreClient) -> int:
    """Count the replicas of every primary."""
    cluster: object = client
    if not isinstance(cluster, ClusterClient):
        return int((await client.info("replication")).get("connected_slaves", 0))
    found = await asyncio.gather(
        *(cluster.info("replication", target_nodes=node) for node in cluster.get_primaries()), return_exceptions=True
    )
    return sum(int(one.get("connected_slaves", 0)) for one in found if not isinstance(one, BaseException))


def refusal(error: BaseException) -> StoreRefused | None:
    """Return what to tell of an error that waiting will not mend: a certificate, a password, a missing right.

    None for an outage, which may end: nobody listens, the name is not known yet, the store loads or has no master.
    """
    causes = [reason for cause in _chain(error) if (reason := _not_let_in(cause))]
    reason = causes[0] if causes else _not_understood(error)
    return StoreRefused(reason) if reason else None


def _not_let_in(error: BaseException) -> str | None:
    if isinstance(error, AuthenticationError):
        return _WRONG_CREDENTIALS
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"REDIS_URL: the store's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and not isinstance(error, _INTERRUPTED):
        return f"REDIS_URL: no TLS with the store: {error.reason or error}"
    return None


def _not_understood(error: BaseException) -> str | None:
    match error:
        case ResponseError() if isinstance(error, NoPermissionError) or IN_A_SCRIPT in str(error):
            return f"the user of REDIS_URL lacks a right in the store: {error}"
        case InvalidResponse():
            return "REDIS_URL: what listens there does not speak the protocol of Redis (or only inside TLS)"
        case MovedError():
            return "REDIS_URL: the store is a cluster; the address must be redis+cluster://"
        case RedisClusterException() if "not enabled" in str(error):
            return "REDIS_URL: the store is no cluster; the address must be redis:// or rediss://"
        case ResponseError() if not is_store_down(error) or outage_code(error) == "REFUSED":
            return f"REDIS_URL: the store refuses: {error}"
        case _:
            return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


async def look_again(client: StoreClient) -> StoreMemory:
    """Look, while the store is used, whether it still keeps every key, and return how much room it has.

    Raises:
        StoreUnsafe: It may evict orders by now.
        Exception: one of `STORE_ERRORS`, when it does not answer.
    """
    infos = await memory_info(client)
    for policy in (info.get("maxmemory_policy") for info in infos):
        if policy not in (None, KEEPS_EVERY_KEY):
            why = f"the store may evict orders: maxmemory-policy is {policy}; set it to {KEEPS_EVERY_KEY}"
            raise StoreUnsafe("may_evict", why)
    return fullest(infos)


async def _info(client: StoreClient) -> Mapping[str, Any]:
    try:
        info: Mapping[str, Any] = await client.info("everything")
    except AuthenticationError:
        raise StoreRefused(_WRONG_CREDENTIALS) from None
    except NoPermissionError:
        raise StoreRefused("the user of REDIS_URL may not run INFO in the store") from None
    return info


def _identity(info: Mapping[str, Any]) -> tuple[str, str]:
    if "valkey_version" in info:
        return "valkey", str(info["valkey_version"])
    return str(info.get("server_name", "redis")), str(info.get("redis_version", "0"))


def _refuse_if_old(server: str, version: str, compatible: str) -> None:
    """Compare the Redis version that a server is compatible with: Valkey 8 and 9 call it 7.2.4."""
    if tuple(int(part) for part in compatible.split(".")[:2] if part.isdigit()) < OLDEST_VERSION:
        oldest = ".".join(str(part) for part in OLDEST_VERSION)
        raise StoreRefused(f"the store is {server} {version}; it must be Redis {oldest} or newer, or Valkey")


def _refuse_if_read_only(info: Mapping[str, Any]) -> None:
    if info.get("role") == "slave" and int(info.get("slave_read_only", 1)):
        master = f"{info.get('master_host')}:{info.get('master_port')}"
        raise StoreRefused(f"the store is a read-only replica; REDIS_URL must name its primary, {master}")


async def _config(client: StoreClient, name: str) -> str | None:
    try:
        found: Mapping[Any, Any] = await client.config_get(name)
    except ResponseError:  # managed stores forbid CONFIG
        return None
    return found.get(name)


def _warnings(policy: str | None, fsync: str | None, *, aof_enabled: bool) -> list[str]:
    warnings = []
    if not aof_enabled:
        warnings.append("the store keeps no append-only file: a crash of it loses orders (appendonly yes)")
    elif fsync not in (None, "always"):
        warnings.append(f"a crash of the store may lose the last second of orders (appendfsync {fsync})")
    if policy is None:
        warnings.append(f"the store does not tell its maxmemory-policy; it must be {KEEPS_EVERY_KEY}")
    return warnings
