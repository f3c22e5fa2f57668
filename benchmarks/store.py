"""The store: a server of its own on the load's core, without persistence, the same for every subject."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis

from benchmarks import machine
from benchmarks.program import Program, free_port
from service.store.server_process import server_program


class Store:
    """One server, empty at first."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self._client = redis.Redis(port=port, decode_responses=True)

    def flush(self) -> None:
        """Forget everything, the counts of its commands included."""
        self._client.flushall()
        self._client.config_resetstat()

    def calls(self, command: str) -> int:
        """How often a command ran, as `INFO commandstats` says."""
        stats: dict[str, Any] = self._client.info("commandstats").get(f"cmdstat_{command}", {})
        return int(stats.get("calls", 0))

    @property
    def server(self) -> str:
        """The server's name and version."""
        info: dict[str, Any] = self._client.info("server")
        name = info.get("server_name", "redis")
        return f"{name} {info.get(f'{name}_version') or info['redis_version']}"

    def used_bytes(self) -> int:
        """Return the memory that its data and buffers take."""
        return int(self._client.info("memory")["used_memory"])

    def aof_bytes(self) -> int:
        """Return what it has written to its append-only file; 0 without one."""
        return int(self._client.info("persistence").get("aof_current_size", 0))

    def clients(self) -> int:
        """How many connections it has, this one left out."""
        return int(self._client.info("clients")["connected_clients"]) - 1

    def totals(self) -> dict[str, int]:
        """How many orders reached each status, by the ledger of our service."""
        return {str(status): int(count) for status, count in self._client.hgetall("{fs:00}:totals").items()}

    def refused(self) -> int:
        """How many orders were refused, by the ledger of our service."""
        return sum(int(count) for count in self._client.hgetall("{fs:00}:refused").values())

    def hash_set(self, key: str, fields: Mapping[str, str | int]) -> None:
        """Set fields of a hash."""
        for name, value in fields.items():
            self._client.hset(key, name, value)

    def length(self, stream: str) -> int:
        """Return the entries of a stream."""
        return int(self._client.xlen(stream))

    def entries(self, stream: str) -> list[tuple[str, dict[str, str]]]:
        """Return the entries of a stream."""
        found: Any = self._client.xrange(stream)
        return list(found)

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            return bool(self._client.ping())
        except redis.RedisError:
            return False

    def close(self) -> None:
        """Close the connections to it."""
        self._client.close()


@contextmanager
def open_store(program: str | None = None, *, durable: bool = False) -> Iterator[Store]:
    """Run a server while the block lasts: the one that comes with the service, unless another is given.

    Args:
        program: Another server.
        durable: Whether it writes all to its append-only file, and that to the disk once a second: the disk's own time,
            which `appendfsync always` would add, is not the server's.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="fs-bench-") as directory:
        argv = [program or server_program(), "--port", str(port), "--bind", "127.0.0.1", "--dir", directory]
        argv += ["--save", "", "--maxmemory-policy", "noeviction", "--appendonly", "yes" if durable else "no"]
        argv += ["--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"] if durable else []
        server = Program(argv, cores=machine.other_cores())
        store = Store(server, port)
        server.ready = store.answers
        try:
            with server:
                yield store
        finally:
            store.close()


def redis_benchmark() -> str | None:
    """Return the path of redis-benchmark, if there is one."""
    return shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
