"""Real clusters for tests, in seconds: primaries with replicas on loopback.

The nodes are put together by `CLUSTER MEET` and its like, which takes a second less than `redis-cli --cluster create`;
slots are moved by `redis-cli` itself, as an operator does it.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

import redis

from tests.support.machine import executable
from tests.support.processes import run
from tests.support.stores import Kind, RedisServer
from tests.support.waiting import eventually, free_port

SLOTS = 16384
NODE_TIMEOUT_MS = 1000
FAST = {"repl_diskless_sync_delay": "0"}


class Cluster:
    """Primaries that share the slots, each with its replicas. `stop()` (or leaving the context) ends all of it.

    Args:
        kind: Of every server.
        primaries: How many.
        replicas: Of each primary.
        cuts: The first slot of each primary but the first; equal shares without.
        options: Configuration directives of every node, `_` standing for `-`.
    """

    def __init__(
        self,
        kind: Kind = "valkey",
        *,
        primaries: int = 3,
        replicas: int = 1,
        cuts: Sequence[int] | None = None,
        **options: str,
    ) -> None:
        self.kind = kind
        self._options = options
        self._bounds = [0, *(cuts or (SLOTS * number // primaries for number in range(1, primaries))), SLOTS]
        self.primaries = [self._node() for _ in range(primaries)]
        self.replicas = [[self._node() for _ in range(replicas)] for _ in range(primaries)]

    def _node(self) -> RedisServer:
        options: dict[str, Any] = {"cluster_node_timeout": str(NODE_TIMEOUT_MS), **FAST, **self._options}
        return RedisServer(self.kind, aof=True, cluster_enabled="yes", cluster_port=str(free_port()), **options)

    @property
    def nodes(self) -> list[RedisServer]:
        """All of them, the first primaries first."""
        return [*self.primaries, *(replica for group in self.replicas for replica in group)]

    @property
    def url(self) -> str:
        """The address for `REDIS_URL`."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        """Start the nodes, share the slots, and wait until every replica is in step."""
        try:
            for node in self.nodes:
                node.start()
            self._share_slots()
            self._meet()
            self._replicate()
        except BaseException:
            self.stop()
            raise
        return self

    def _share_slots(self) -> None:
        for number, node in enumerate(self.nodes):
            command(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < len(self.primaries):
                command(node, "CLUSTER", "ADDSLOTSRANGE", self._bounds[number], self._bounds[number + 1] - 1)

    def _meet(self) -> None:
        first, *others = self.nodes
        for node in others:
            join(first, node)
        for node in self.nodes:
            eventually(partial(self._knows_all, node), 15, "the nodes know each other")

    def _replicate(self) -> None:
        for primary, replicas in zip(self.primaries, self.replicas, strict=True):
            for replica in replicas:
                replicate(replica, primary)
        for node in self.nodes:
            eventually(partial(is_whole, node), 15, "the cluster is whole")

    def _knows_all(self, node: RedisServer) -> bool:
        return len(known_to(node)) == len(self.nodes)

    def owner(self, key: str) -> RedisServer:
        """Return the primary that has the slot of a key now, as most nodes see it."""
        slot = int(command(self.alive()[0], "CLUSTER", "KEYSLOT", key))
        for line in known_to(self.alive()[0]).values():
            if "master" in line["flags"] and "fail" not in line["flags"].split(",") and slot in line["slots"]:
                return self.at(line["port"])
        raise AssertionError(f"slot {slot} is nobody's")

    def at(self, port: int) -> RedisServer:
        """Return the node at a port."""
        return next(node for node in self.nodes if node.port == port)

    def replicas_of(self, primary: RedisServer) -> list[RedisServer]:
        """Return the nodes that follow a primary now."""
        mine = node_id(primary)
        return [self.at(line["port"]) for line in known_to(primary).values() if line["primary"] == mine]

    def alive(self) -> list[RedisServer]:
        """Return the nodes that answer."""
        return [node for node in self.nodes if node.running() and node.answers()]

    def redis_cli(self, *words: str) -> str:
        """Run `redis-cli --cluster ...` against the first node that answers, and return what it says.

        Raises:
            subprocess.CalledProcessError: It has failed.
        """
        address = f"127.0.0.1:{self.alive()[0].port}"
        argv = [executable("redis-cli"), "--cluster", words[0], address, *words[1:]]
        return run(argv, timeout=120, check=True).stdout

    def stop(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def command(node: RedisServer, *words: str | int) -> Any:
    """Send one command to one node, whatever slot it is about."""
    with node.sync_client() as client:
        return client.execute_command(*words)


def info(node: RedisServer) -> dict[str, Any]:
    """Return `CLUSTER INFO` of a node; nothing from one that does not answer."""
    with suppress(redis.RedisError):
        found: dict[str, Any] = command(node, "CLUSTER INFO")
        return found
    return {"cluster_state": "silent"}


def is_whole(node: RedisServer) -> bool:
    """Whether a node sees every slot served."""
    return bool(info(node)["cluster_state"] == "ok")


def node_id(node: RedisServer) -> str:
    """Return a node's name in its cluster."""
    return str(command(node, "CLUSTER", "MYID"))


def known_to(node: RedisServer) -> dict[str, dict[str, Any]]:
    """Return the nodes that a node knows, by name: port, flags, primary ('-' for none), slots (a set)."""
    with node.sync_client() as client:
        client.response_callbacks.pop("CLUSTER NODES", None)
        text = client.execute_command("CLUSTER NODES")
    found = {}
    for line in str(text).splitlines():
        name, address, flags, primary, _, _, _, _, *ranges = line.split()
        if "handshake" in flags or "noaddr" in flags:
            continue
        port = int(address.partition("@")[0].rpartition(":")[2])
        slots = {slot for part in ranges if not part.startswith("[") for slot in _range(part)}
        found[name] = {"port": port, "flags": flags, "primary": primary, "slots": slots}
    return found


def _range(text: str) -> range:
    low, _, high = text.partition("-")
    return range(int(low), int(high or low) + 1)


def join(member: RedisServer, node: RedisServer) -> None:
    """Make a node known to a cluster, of which `member` is one."""
    bus = node.option("cluster_port")
    command(member, "CLUSTER", "MEET", "127.0.0.1", node.port, bus)


def replicate(replica: RedisServer, primary: RedisServer) -> None:
    """Let a node follow a primary, and wait until it is in step."""
    name = node_id(primary)
    eventually(lambda: name in known_to(replica), 15, "the replica knows its primary")
    command(replica, "CLUSTER", "REPLICATE", name)
    eventually(lambda: in_step(replica), 15, "the replica is in step")


def is_primary(node: RedisServer) -> bool:
    """Whether a node is the primary of its shard, as it sees itself."""
    with suppress(redis.RedisError):
        return bool(command(node, "ROLE")[0] == "master")
    return False


def in_step(replica: RedisServer) -> bool:
    """Whether a replica has its primary's data and follows it."""
    with suppress(redis.RedisError), replica.sync_client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")
    return False
