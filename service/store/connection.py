"""Connections that end with an outage: what redis-py would keep in its pool, or raise as an error of its own.

A server may answer on a connection that no call can use any more: it became a replica behind an address that now leads
to another, it loads, it has lost its master. Such a connection is closed when its call ends, so the next one asks
whoever listens there now. And a call whose connection redis-py closes under it (a cluster that is read anew closes all
of them) finds `None` or a closed transport in its hands: that is a connection lost, as any other.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import hiredis
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

RESENT: Final = (exceptions.ConnectionError, exceptions.ReadOnlyError, exceptions.MasterDownError)
"""After these a call is sent once more, on another connection."""

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


def as_outage(error: exceptions.RedisError) -> exceptions.RedisError:
    """Return an error of the server as a caller shall meet it: what redis-py would act on by itself is made ours."""
    if isinstance(error, exceptions.MovedError):
        return error
    if isinstance(error, exceptions.AskError):  # redis-py's kind of a moved slot, too
        # No step runs in a slot that moves, and redis-py would ask on another connection than it announced.
        return exceptions.TryAgainError(f"TRYAGAIN the slot moves: {error}")
    # redis-py's kind of a cluster that is down, too: a primary that a replica has lost
    if isinstance(error, exceptions.ClusterDownError) and not isinstance(error, exceptions.MasterDownError):
        return ClusterDown(f"CLUSTERDOWN {error}")
    return error


def ends_connection(error: exceptions.RedisError) -> bool:
    """Whether a connection on which this was answered is of no use any more."""
    return isinstance(error, exceptions.ConnectionError) or outage_code(error) in _ELSEWHERE


def packed(command: Sequence[Any]) -> bytes:
    """Return a command as it goes over the wire; hiredis makes it in a fraction of redis-py's time."""
    data: bytes = hiredis.pack_command(tuple(command))
    return data


class StoreConnection(AbstractConnection):
    """What is the same for every kind of connection."""

    def pack_command(self, *args: Any) -> list[bytes]:  # noqa: ANN401 - redis-py's
        """Pack a command, of which the name may be two words."""
        name, *rest = args
        words = name.split() if isinstance(name, str) else (name,)
        try:
            return [packed((*words, *rest))]
        except (TypeError, UnicodeEncodeError):  # what is no text, and half of a surrogate pair
            return super().pack_command(*args)

    def new_reader(self, more: object) -> hiredis.Reader:
        """Make a parser of what the server says, as redis-py's own; it returns `more` where an answer is not whole."""
        return hiredis.Reader(
            protocolError=exceptions.InvalidResponse,
            replyError=self._parser.parse_error,
            encoding=self.encoder.encoding if self.encoder.decode_responses else None,
            errors=self.encoder.encoding_errors,
            notEnoughData=more,
        )

    def hand_over(self, protocol: asyncio.BaseProtocol) -> tuple[asyncio.WriteTransport, asyncio.BaseProtocol]:
        """Give a connection that is made to another protocol.

        Returns:
            Its transport; and redis-py's protocol, which must be told when it is lost.
        """
        writer = self._writer
        if writer is None:
            raise exceptions.ConnectionError("the connection was closed before it was used")
        before = writer.transport.get_protocol()
        writer.transport.set_protocol(protocol)
        return writer.transport, before

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
        except exceptions.RedisError as error:
            meant = as_outage(error)
            if meant is not error:
                raise meant from error
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


class TcpConnection(StoreConnection, Connection):
    """To a host and port."""


class TlsConnection(StoreConnection, SSLConnection):
    """To a host and port, encrypted."""


class UnixConnection(StoreConnection, UnixDomainSocketConnection):
    """To a socket of this machine."""


class SentinelConnection(StoreConnection, SentinelManagedConnection):
    """To whom the sentinels name."""


class SentinelTlsConnection(StoreConnection, SentinelManagedSSLConnection):
    """To whom the sentinels name, encrypted."""
