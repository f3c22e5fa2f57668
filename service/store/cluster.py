"""The client of a cluster: redis-py's, but its layout is read beside the calls, so one dead shard delays no other.

redis-py reads the layout under a lock before the next call of anybody, closes every connection when that fails, and
asks a node for the keys of `XREADGROUP` each time. Here who has lost a connection waits for the new layout, the
others go on with the one they have, and nothing is closed under a call that is under way.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Self

from redis import exceptions
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.typing import ScriptTextT

from service.cancellation import cancel_and_wait

REFRESH_PAUSE_SECONDS = 0.1
"""From one reading of the layout to the next: a failover takes seconds, and every call that fails asks for one."""


class ClusterClient(RedisCluster):
    """A client of all shards of a cluster; made by `connect`."""

    ERRORS_ALLOW_RETRY = (  # type: ignore[assignment] # one less than redis-py: a call whose time is up is not sent again
        exceptions.ConnectionError,
        exceptions.ClusterDownError,
        exceptions.SlotNotCoveredError,
    )

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - redis-py's
        # A slot that nobody has is a shard that is away; and a `MOVED` tells enough to go on by.
        super().__init__(require_full_coverage=False, reinitialize_steps=0, **options)
        self._known = False
        self._first = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._read_at = 0.0

    async def initialize(
        self,
        additional_startup_nodes_info: list[tuple[str, int]] | None = None,  # noqa: ARG002 - redis-py's
        last_failed_node_name: str | None = None,
    ) -> Self:
        """Read the layout: before the first call; later anew, for which only the caller waits whose node has failed."""
        if not self._known:
            async with self._first:
                if not self._known:
                    await self._begin()
            return self
        if last_failed_node_name is not None:
            await asyncio.shield(self._read_layout_of(last_failed_node_name))
        elif self._initialize:
            self._read_layout_of(None)
        return self

    async def _begin(self) -> None:
        """Read the layout, and what commands there are from any primary: the one that redis-py asks may be down."""
        try:
            await self.nodes_manager.initialize()
            await self._learn_commands()
        except BaseException:
            await self.nodes_manager.aclose()
            await self.nodes_manager.aclose("startup_nodes")
            raise
        self._known, self._initialize = True, False

    async def _learn_commands(self) -> None:
        failed: Exception = exceptions.ConnectionError("the cluster has no primary")
        for node in self.get_primaries():
            try:
                await self.commands_parser.initialize(node)
            except (exceptions.RedisError, OSError) as error:
                failed = error
            else:
                return
        raise failed

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's
        """Run a command where its key is; once more when its connection was lost, not when its time is up."""
        try:
            return await super().execute_command(*args, **options)
        except exceptions.SlotNotCoveredError:
            self._read_layout_of(None)
            raise
        except (exceptions.TimeoutError, exceptions.ConnectionError) as error:
            if self._known and self._initialize:
                self._read_layout_of(getattr(error, "last_failed_node_name", None))
            raise

    async def execute_together(self, key: str, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run commands over one connection to the primary that has a key, in one round trip; an error is a reply.

        Once more when that primary has moved or its connection is lost, as single commands are.

        Raises:
            redis.exceptions.RedisError: The primary does not answer.
        """
        await self.initialize()
        for last in (False, True):
            node = self.get_node_from_key(key)
            if node is None:
                raise exceptions.SlotNotCoveredError(f"nobody has the slot of {key}")
            try:
                replies = await _exchange(node, commands)
            except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
                reading = self._read_layout_of(node.name)
                if last or isinstance(error, exceptions.TimeoutError):
                    raise
                await asyncio.shield(reading)
                continue
            if last or not isinstance(replies[0], exceptions.MovedError):
                break
            await self.nodes_manager.move_slot(replies[0])
        return replies

    async def script_load(self, script: ScriptTextT) -> str:
        """Make a script known to every primary that answers; the others get it with a call.

        Raises:
            redis.exceptions.RedisError: None answers.
        """
        loads = [self.execute_command("SCRIPT LOAD", script, target_nodes=node) for node in self.get_primaries()]
        found = await asyncio.gather(*loads, return_exceptions=True)
        known = [digest for digest in found if not isinstance(digest, BaseException)]
        if not known and found:
            raise found[0]
        return str(known[0])

    async def aclose(self) -> None:
        """Close all connections."""
        if self._reading is not None:
            await cancel_and_wait([self._reading])
        self._initialize = not self._known  # else redis-py takes it for closed while a reading is due
        self._known = False
        await super().aclose()

    def _read_layout_of(self, failed: str | None) -> "asyncio.Task[None]":
        """Begin to read the layout unless that goes on already; the node that has failed is asked last."""
        self._initialize = False
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_layout(failed))
            self._reading.add_done_callback(_heard)
        return self._reading

    async def _read_layout(self, failed: str | None) -> None:
        await asyncio.sleep(max(self._read_at + REFRESH_PAUSE_SECONDS - monotonic(), 0))
        try:
            await self.nodes_manager.initialize(last_failed_node_name=failed)
        finally:
            self._read_at = monotonic()

    async def _determine_slot(self, command: str, *args: Any) -> int:  # noqa: ANN401 - redis-py's
        if command == "XREADGROUP":
            with suppress(ValueError):
                return int(self.keyslot(args[args.index(b"STREAMS") + 1]))
        slot: int = await super()._determine_slot(command, *args)
        return slot


async def _exchange(node: ClusterNode, commands: Sequence[Sequence[Any]]) -> list[Any]:
    connection = node.acquire_connection()
    try:
        await node.disconnect_if_needed(connection)
        await connection.send_packed_command(connection.pack_commands(commands))
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except exceptions.ResponseError as error:
                replies.append(error)
        return replies
    finally:
        await node.disconnect_if_needed(connection)
        node.release(connection)


def _heard(reading: "asyncio.Task[None]") -> None:
    """Take note of a failure: who waited for the layout is told, and the next call that fails asks for it again."""
    if not reading.cancelled():
        reading.exception()
