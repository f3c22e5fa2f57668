"""The client of the store: how it connects, how long it waits, what it sends again.

One `connect` serves every topology of `REDIS_URL`. A client waits `timeout_seconds` for an answer. A call
that timed out is not sent again: the store may have run it and the caller's time is up. A call that found
its connection broken, or a replica at its other end, is sent once more on a new one, so a restarted store or
a planned failover costs no error; the scripts of the ledger are safe to send twice. With nobody listening a
call fails within milliseconds, with a store that hangs after `timeout_seconds`. Replies are text
(`decode_responses=True`).
"""

from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from service.directories import real_path
from service.store.address import StoreAddress, Topology, parse_url
from service.store.cluster import ClusterClient
from service.store.connection import (
    OUTAGES,
    RESENT,
    SentinelConnection,
    SentinelTlsConnection,
    StoreUnsafe,
    TcpConnection,
    TlsConnection,
    UnixConnection,
    outage_code,
)
from service.store.disk import DATA_LINK, OWNER_LOCK

StoreClient: TypeAlias = Redis

RESENDS: Final = 1
MAX_CONNECTIONS: Final = 1024

StoreConnectionError = exceptions.ConnectionError
StoreTimeoutError = exceptions.TimeoutError
StoreResponseError = exceptions.ResponseError

CLIENT_ERRORS: Final[tuple[type[Exception], ...]] = (exceptions.RedisError, exceptions.RedisClusterException)
STORE_ERRORS: Final[tuple[type[Exception], ...]] = (*CLIENT_ERRORS, OSError)
"""All that a call of the store may raise; `is_store_down` tells an outage from a mistake of ours."""

_DOWN: Final = (
    exceptions.ConnectionError,  # refused, lost, LOADING, no free connection, a password refused
    exceptions.TimeoutError,
    exceptions.ClusterError,  # CLUSTERDOWN, MASTERDOWN, redirected too often
    exceptions.SlotNotCoveredError,
    StoreUnsafe,
    exceptions.InvalidResponse,  # something else listens there
    OSError,
)


def connect(
    url: str,
    *,
    name: str,
    timeout_seconds: float = 2.0,
    block_seconds: float = 0.0,
    max_connections: int = MAX_CONNECTIONS,
) -> StoreClient:
    """Return a client of the store at `url`; it connects at its first call.

    The caller closes it (`async with`, or `aclose`).

    Args:
        url: The value of `REDIS_URL`, see `service.store.address`.
        name: What `CLIENT LIST` shows, say `api-0`.
        timeout_seconds: How long to wait for a connection, and then for an answer.
        block_seconds: How long a blocking read may block (`XREADGROUP ... BLOCK`), on top of that.
        max_connections: Calls at one time; one more is refused at once, as an outage would be.

    Raises:
        ValueError: the URL is no good; one line, without secrets.
    """
    address = parse_url(url)
    options = {
        "client_name": name,
        "decode_responses": True,
        "encoding_errors": "replace",  # what is no text is not ours, and must not end who reads it
        "socket_connect_timeout": timeout_seconds,
        "socket_timeout": timeout_seconds + block_seconds,
        "retry": Retry(NoBackoff(), RESENDS, supported_errors=RESENT),
        "max_connections": max_connections,
        # A service of Redis Cloud; elsewhere only another round trip per connection.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "username": address.username,
        "password": address.password,
    }
    match address.topology:
        case Topology.CLUSTER:
            return _cluster(address, options)
        case Topology.SENTINEL:
            return _sentinel(address, options)
        case _:
            return _single(address, options)


def is_spread(client: StoreClient) -> bool:
    """Whether the store is a cluster of several primaries, so that it matters which slots are used."""
    cluster: object = client
    return isinstance(cluster, ClusterClient) and len(cluster.get_primaries()) > 1


def is_store_down(error: BaseException) -> bool:
    """Whether `error` says that the store did not do its work: gone, silent, loading, full, read-only.

    Such a call may or may not have run; it is answered with 503 and is safe to send again.
    """
    if isinstance(error, _DOWN):
        return True
    if isinstance(error, exceptions.RedisClusterException):
        return "cannot be connected" in str(error)  # the same class also tells of keys in two slots
    return outage_code(error) is not None


def plain_words(error: Exception) -> str:
    """Return what an error says, without the objects of the library that it shows behind."""
    return str(error).partition(" : <")[0]


def outage_reason(error: BaseException) -> str:
    """Return why a store that is down is down, as one word: `out_of_memory`, `read_only`, `timeout`, `unreachable`."""
    if code := outage_code(error):
        return OUTAGES[code]
    if isinstance(error, StoreUnsafe):
        return error.reason
    if isinstance(error, exceptions.AuthenticationError):
        return "access_refused"
    return "timeout" if isinstance(error, (exceptions.TimeoutError, TimeoutError)) else "unreachable"


def data_directory(client: StoreClient) -> Path | None:
    """Return where the store behind a client keeps its data, if it is the embedded one, which runs now."""
    pool = getattr(client, "connection_pool", None)  # a cluster's has none
    path = pool.connection_kwargs.get("path") if pool else None
    places = (Path(path).parent, Path(path).parent / DATA_LINK) if path else ()
    return next((real_path(place) for place in places if (place / OWNER_LOCK).exists()), None)


def _single(address: StoreAddress, options: dict[str, Any]) -> StoreClient:
    where: dict[str, Any] = {"db": address.db, **_tls(address)}
    connection: type[TcpConnection | TlsConnection | UnixConnection]
    if address.topology is Topology.UNIX:
        connection = UnixConnection
        where["path"] = address.path
    else:
        connection = TlsConnection if address.tls else TcpConnection
        where["host"], where["port"] = address.hosts[0]
    return Redis.from_pool(ConnectionPool(connection_class=connection, **where, **options))


class _SentinelPool(SentinelConnectionPool):
    """Closes the connections to the sentinels with its own; redis-py leaves them to the garbage collector."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def _sentinel(address: StoreAddress, options: dict[str, Any]) -> StoreClient:
    ssl: dict[str, Any] = {"ssl": True, **_tls(address)} if address.tls else {}
    asked = ("decode_responses", "socket_connect_timeout", "socket_timeout", "retry")
    credentials = {"username": address.sentinel_username, "password": address.sentinel_password}
    sentinels = Sentinel(  # type: ignore[no-untyped-call] # redis-py leaves its constructor untyped
        list(address.hosts), sentinel_kwargs={**{key: options[key] for key in asked}, **credentials, **ssl}
    )
    connection = SentinelTlsConnection if address.tls else SentinelConnection
    where = {"db": address.db, "connection_class": connection, **ssl}
    pool = _SentinelPool(address.service, sentinels, **where, **options)  # type: ignore[no-untyped-call] # ditto
    return Redis.from_pool(pool)


def _cluster(address: StoreAddress, options: dict[str, Any]) -> StoreClient:
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    client = ClusterClient(startup_nodes=nodes, ssl=address.tls, **_tls(address), **options)
    # The cluster client names the class of its connections itself, and takes no other.
    client.connection_kwargs["connection_class"] = TlsConnection if address.tls else TcpConnection
    for node in client.startup_nodes:
        node.connection_class = client.connection_kwargs["connection_class"]
    # The same commands under another class; that the keys of a script share a slot is the ledger's care.
    return cast("StoreClient", client)


def _tls(address: StoreAddress) -> dict[str, Any]:
    return {key: value == "true" if key == "ssl_check_hostname" else value for key, value in address.tls_options}
