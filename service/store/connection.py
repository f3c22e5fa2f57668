"""Connections that end with an outage: what redis-py would keep in its pool, or raise as an error of its own.

A server may answer on a connection that no call can use any more: it became a replica behind an address that now leads
to another, it loads, it has lost its master. Such a connection is closed when its call ends, so the next one asks
whoever listens there now. And a call whose connection redis-py closes under it (a cluster that is read anew closes all
of them) finds `None` or a closed transport in its hands: that is a connection lost, as any other.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final

from redis import exceptions
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from service.deadline import GRACE_SECONDS, LATE_SECONDS

OUTAGES: Final = {
    "OOM": "out_of_memory",
    "MISCONF": "cannot_persist",
    "READONLY": "read_only",
    "NOREPLICAS": "no_replicas",
    "MASTERDOWN": "master_down",
    "CLUSTERDOWN": "cluster_down",
    "TRYAGAIN": "slot_moves",
    "UNBLOCKED": "read_only",
    "SHARDGONE": "shard_empty",
    "LOADING": "loading",
    "BUSY": "busy",
    "WRONGTYPE": "wrong_type",
    "NOPERM": "access_refused",
    "MOVED": "another_node",
    "REFUSED": "refused",
}
"""The answers of a server that cannot do its work now, by the first word of the error, and what we call them."""

_ELSEWHERE: Final = frozenset({"READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "LOADING"})
"""Of these, those to which another server may be the answer: whoever listens at the same address by now."""

IN_A_SCRIPT: Final = "user executing the script can't"  # what NOPERM is called there

_OURS: Final = frozenset({"ERR", "NOSCRIPT", "NOGROUP", "BUSYGROUP", "CROSSSLOT", "EXECABORT", "NOAUTH", "WRONGPASS"})
"""The words of mistakes, ours or the operator's; any other tells of a server that does not do its work now."""

_CLOSED: Final = (AttributeError, RuntimeError)
_FOREIGN_SLOT: Final = "non local key"


class StoreUnsafe(exceptions.RedisError):
    """The store may lose what it takes, or cannot take anything, and we know why: `reason` says it in one word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def outage_code(error: BaseException) -> str | None:
    """Return the server's own word for its outage, `READONLY` say; None for an error that tells of none."""
    if not isinstance(error, exceptions.RedisError):
        return None
    word = error.status_code or str(error).partition(" ")[0]
    if word in OUTAGES:
        return word
    if IN_A_SCRIPT in str(error) or "ACL failure in script" in str(error):
        return "NOPERM"
    if isinstance(error, exceptions.ResponseError) and word.isalpha() and word.isupper() and word not in _OURS:
        return "REFUSED"  # a word of another server's, or of a version to come
    if isinstance(error, exceptions.ClusterError) or _FOREIGN_SLOT in str(error):
        return "TRYAGAIN"  # redirected or put off for as long as redis-py has patience
    return None


class ClusterDown(exceptions.ConnectionError):
    """A node says that its slot is served by nobody now: to redis-py a node that is away, not a reason to close all."""


class _EndsWithAnOutage(AbstractConnection):
    """What is the same for every kind of connection."""

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Send, as redis-py does."""
        try:
            await super().send_packed_command(command, check_health)
        except _CLOSED as error:
            raise _lost(error) from error

    async def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's
        """Read an answer, as redis-py does."""
        try:
            return await self._read(*args, **options)
        except _CLOSED as error:
            await self.disconnect(nowait=True)
            raise _lost(error) from error
        except exceptions.MovedError:
            raise
        except exceptions.AskError as error:  # redis-py's kind of a moved slot, too
            # No step runs in a slot that moves, and redis-py would ask on another connection than it announced.
            raise exceptions.TryAgainError(f"TRYAGAIN the slot moves: {error}") from error
        except exceptions.RedisError as error:
            # redis-py's kind of a cluster that is down, too: a primary that a replica has lost
            if isinstance(error, exceptions.ClusterDownError) and not isinstance(error, exceptions.MasterDownError):
                raise ClusterDown(f"CLUSTERDOWN {error}") from error
            if outage_code(error) in _ELSEWHERE:  # not closed here: other answers of a pipeline may follow
                self.mark_for_reconnect()  # type: ignore[no-untyped-call] # redis-py leaves it untyped
            raise

    async def _read(self, *args: Any, disconnect_on_error: bool = True, **options: Any) -> Any:  # noqa: ANN401 - redis-py's
        """Read; an answer that came in time is one, although the process stood still until its time was over."""
        began = time.monotonic()
        try:
            return await super().read_response(*args, disconnect_on_error=False, **options)
        except exceptions.ResponseError:  # an answer
            raise
        except exceptions.TimeoutError:
            if time.monotonic() - began < (self.socket_timeout or 0) + LATE_SECONDS:
                await self._close_if(disconnect_on_error)
                raise
        except BaseException:
            await self._close_if(disconnect_on_error)
            raise
        return await self._read_late(*args, disconnect_on_error=disconnect_on_error, **options)

    async def _read_late(self, *args: Any, disconnect_on_error: bool, **options: Any) -> Any:  # noqa: ANN401 - redis-py's
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                return await super().read_response(*args, disconnect_on_error=disconnect_on_error, **options)
        except TimeoutError as error:
            await self._close_if(disconnect_on_error)
            raise exceptions.TimeoutError("the store did not answer in time") from error

    async def _close_if(self, wanted: bool) -> None:
        if wanted:
            await self.disconnect(nowait=True)


def _lost(error: Exception) -> exceptions.ConnectionError:
    return exceptions.ConnectionError(f"the connection was closed under a call: {error}")


class TcpConnection(_EndsWithAnOutage, Connection):
    """To a host and port."""


class TlsConnection(_EndsWithAnOutage, SSLConnection):
    """To a host and port, encrypted."""


class UnixConnection(_EndsWithAnOutage, UnixDomainSocketConnection):
    """To a socket of this machine."""


class SentinelConnection(_EndsWithAnOutage, SentinelManagedConnection):
    """To whom the sentinels name."""


class SentinelTlsConnection(_EndsWithAnOutage, SentinelManagedSSLConnection):
    """To whom the sentinels name, encrypted."""
