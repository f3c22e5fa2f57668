"""Calls that do not wait for each other: one connection on which each is sent at once, and answered in its turn.

For each call redis-py takes a connection from its pool, under a lock, and sets two timers: 90 us of CPU, which is most
of an order's way to the store while few orders share a call. Here redis-py only connects (TLS, password, database,
name), and the socket is used without it from then on. What a caller meets is as with redis-py: see `client.py`.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import hiredis
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool

from service.deadline import Deadline
from service.store.connection import RESENT, StoreConnection, as_outage, ends_connection, packed
from service.store.scripts import Arg

_MORE: Final = object()
"""What the parser says of an answer that is not whole."""


def pipe_of(client: Redis) -> "Pipe | None":
    """Return a pipe to the server of a client; None where several servers share the work, which redis-py finds."""
    pool = getattr(client, "connection_pool", None)  # a cluster's has none
    if type(pool) is ConnectionPool and issubclass(pool.connection_class, StoreConnection):
        return Pipe(pool)
    return None


class Pipe:
    """One connection of a pool, which is kept, and taken anew when it is lost.

    Args:
        pool: Makes it, and closes it with all others.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()
        self._failures = 0
        self._error: Exception | None = None

    async def call(self, *command: Arg) -> Any:  # noqa: ANN401 - as the server answers
        """Send a command and return its answer.

        A caller that gives up harms nobody: what was sent runs, and its answer is dropped.

        Raises:
            redis.exceptions.RedisError: The store is down, or refused; the command may have run.
        """
        line = self._line
        if line is None or line.closed:
            line = await self._connected(line)
        try:
            return await line.ask(command)
        except RESENT:
            line = await self._connected(line)
            return await line.ask(command)

    async def _connected(self, failed: "_Line | None") -> "_Line":
        """Return another connection than the one that failed; who waited for an attempt shares what came of it."""
        failures = self._failures
        async with self._connecting:
            line = self._line
            if line is not None and line is not failed and not line.closed:
                return line
            if self._failures != failures and self._error is not None:
                raise self._error
            try:
                if line is not None:
                    self._line = None
                    await line.give_back(self._pool)
                connection: Any = await self._pool.get_connection()  # type: ignore[no-untyped-call] # redis-py's
                self._line = line = _Line(connection)
            except Exception as error:
                self._failures, self._error = self._failures + 1, error
                raise
            return line


class _Line(asyncio.Protocol):
    """A connection that redis-py made, in use."""

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection
        self._seconds: float = connection.socket_timeout or 0.0
        self._loop = asyncio.get_running_loop()
        self._calls: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer = Deadline(self._loop)
        self._reader = connection.new_reader(_MORE)
        self.closed = False
        self._transport, self._before = connection.hand_over(self)

    def ask(self, command: Sequence[Arg]) -> "asyncio.Future[Any]":
        """Send a command; the future gets its answer."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._calls.append((self._loop.time() + self._seconds, future))
        if not self._timer.running and self._seconds:
            self._timer.start(self._seconds, self._look)
        self._transport.write(packed(command))
        return future

    async def give_back(self, pool: ConnectionPool) -> None:
        """Close it, and let the pool have its place for another."""
        self.close(exceptions.ConnectionError("the connection was closed under a call"))
        await self._connection.disconnect(nowait=True)
        await pool.release(self._connection)

    def close(self, error: exceptions.RedisError) -> None:
        """End it: whoever waits is told this."""
        self.closed = True
        self._transport.abort()
        self._timer.cancel()
        calls, self._calls = self._calls, deque()
        for _, future in calls:
            if not future.done():
                future.set_exception(error)

    def data_received(self, data: bytes) -> None:
        """Answer those whose answers have come."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                if not isinstance(reply, hiredis.PushNotification):
                    self._answer(reply)
        except exceptions.RedisError as error:  # something else listens there
            self.close(error)

    def _answer(self, reply: Any) -> None:  # noqa: ANN401 - whatever the server says
        if not self._calls:
            raise exceptions.InvalidResponse("the store answers what nobody asked")
        _, future = self._calls.popleft()
        if not isinstance(reply, exceptions.RedisError):
            if not future.done():
                future.set_result(reply)
            return
        error = as_outage(reply)
        if not future.done():
            future.set_exception(error)
        if ends_connection(error):
            self.close(exceptions.ConnectionError(f"the connection was closed under a call: {error}"))

    def eof_received(self) -> bool:
        """Let the transport close: who answers no more is of no use."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all who wait, and redis-py."""
        self.close(exceptions.ConnectionError(f"the connection was closed under a call: {exc or 'by the store'}"))
        self._before.connection_lost(exc)

    def _look(self) -> None:
        """See whether the oldest call has waited for long enough; one timer serves all."""
        if not self._calls:
            return
        left = self._calls[0][0] - self._loop.time()
        if left > 0:
            self._timer.start(left, self._look)
        else:
            self.close(exceptions.TimeoutError(f"no answer from the store within {self._seconds:g} s"))
