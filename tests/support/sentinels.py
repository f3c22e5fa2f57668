"""Real sentinels for tests, in seconds: a primary with replicas on loopback, and who watches them."""

import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.support.clusters import FAST, NODE_TIMEOUT_MS, command, in_step
from tests.support.processes import start
from tests.support.stores import Kind, RedisServer, binary
from tests.support.waiting import eventually, free_port


class Sentinels:
    """A primary with replicas, and sentinels that watch it and make another the primary when it is gone.

    Args:
        kind: Of every server.
        replicas: How many.
        sentinels: How many; most of them must agree.
        options: Configuration directives of the servers, `_` standing for `-`.
    """

    service = "sale"

    def __init__(self, kind: Kind = "redis", *, replicas: int = 2, sentinels: int = 3, **options: str) -> None:
        self.kind = kind
        with_defaults: dict[str, Any] = {**FAST, **options}
        self.servers = [RedisServer(kind, aof=True, **with_defaults) for _ in range(1 + replicas)]
        self.ports = [free_port() for _ in range(sentinels)]
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """The address for `REDIS_URL`."""
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self.ports) + f"/{self.service}"

    def start(self) -> Self:
        """Start all, and wait until every sentinel knows the others and the replicas."""
        try:
            for server in self.servers:
                server.start()
            for replica in self.servers[1:]:
                command(replica, "REPLICAOF", "127.0.0.1", self.servers[0].port)
                eventually(partial(in_step, replica), 15, "the replica is in step")
            self._processes = [self._sentinel(port) for port in self.ports]
            for port in self.ports:
                eventually(partial(self._ready, port), 20, "the sentinel knows all others")
        except BaseException:
            self.stop()
            raise
        return self

    def _sentinel(self, port: int) -> subprocess.Popen[bytes]:
        directory = self.servers[0].directory / f"sentinel-{port}"
        directory.mkdir()
        quorum = len(self.ports) // 2 + 1
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {directory}",
            f"logfile {directory / 'sentinel.log'}",
            f"sentinel monitor {self.service} 127.0.0.1 {self.servers[0].port} {quorum}",
            f"sentinel down-after-milliseconds {self.service} {NODE_TIMEOUT_MS}",
            f"sentinel failover-timeout {self.service} 6000",
        ]
        path = Path(directory / "sentinel.conf")
        path.write_text("\n".join(lines) + "\n")
        program = [binary(self.kind), str(path), "--sentinel"]
        return start(program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(self, *words: str, port: int | None = None) -> Any:
        """Send one command to one sentinel."""
        with redis.Redis(port=port or self.ports[0], socket_timeout=2, decode_responses=True) as client:
            return client.execute_command(*words)

    def primary(self) -> RedisServer:
        """Return the server that the sentinels name."""
        _, port = self.ask("SENTINEL GET-MASTER-ADDR-BY-NAME", self.service)
        return next(server for server in self.servers if server.port == int(port))

    def _ready(self, port: int) -> bool:
        with suppress(redis.RedisError):
            state = self.ask("SENTINEL MASTER", self.service, port=port)
            others, replicas = int(state["num-other-sentinels"]), int(state["num-slaves"])
            return (others, replicas) == (len(self.ports) - 1, len(self.servers) - 1)
        return False

    def stop(self) -> None:
        """End every sentinel and server."""
        for process in self._processes:
            process.kill()
            process.wait(5)
        for server in self.servers:
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
